"""Whether an order says what its word needs: the same for a command and over HTTP."""

from __future__ import annotations

from msgspec import UNSET

from acting.records import APPROVALS_MAX, EVERY, Mode, Order, Word
from detector.verdicts import Action

RULE = "rule"
"""The value that takes a mode, or a number of approvals, back."""

RECOMMENDATION = "rec_"
NUMBERS = tuple(str(number) for number in range(1, APPROVALS_MAX + 1))


def problem_of(order: Order) -> str:
    """What an order lacks, or says in vain, with the fix; empty if nothing.

    Examples
    --------
    >>> problem_of(Order(Word.MODE, "ada", "new team", "pay", "never"))
    'mode needs one of shadow, recommend, approve, auto or rule'
    >>> problem_of(Order(Word.STOP, "ada", "INC-17"))
    ''
    """
    word, value = order.word, order.value
    is_named = order.recommendation_id.startswith(RECOMMENDATION)
    if word in (Word.APPROVE, Word.REJECT):
        if not is_named:
            return f"{word} needs the id of a recommendation (rec_...)"
        if word is Word.APPROVE and value not in list(Action):
            return f"approve needs the action that is approved: {', '.join(Action)}"
        if word is Word.REJECT and value:
            return "reject takes no action: it is of the whole recommendation"
    elif order.recommendation_id:
        return f"{word} is not about a recommendation"
    if word in (Word.WITHDRAW, Word.RESTORE):
        return _component_problem(order)
    if order.environment is not UNSET:
        return f"{word} is for every environment: gates know services"
    if word is Word.MODE and value not in (*Mode, RULE):
        return f"mode needs one of {', '.join(Mode)} or {RULE}"
    if word is Word.APPROVALS and value not in (*NUMBERS, RULE):
        return f"approvals needs one of {', '.join(NUMBERS)} or {RULE}"
    if word not in (Word.APPROVE, Word.MODE, Word.APPROVALS) and value:
        return f"{word} takes no value: name a service for one alone"
    return ""


def _component_problem(order: Order) -> str:
    word = order.word
    if not order.value or order.service == EVERY:
        return f"{word} needs a component, and its service"
    if word is Word.WITHDRAW and order.environment is UNSET:
        return "withdraw needs the environment out of which the component is taken"
    if order.environment == EVERY:
        return f"{word} is for one environment; restore without one is for all of them"
    return ""
