"""Reports: one file, escaped, the same bytes each time."""

from __future__ import annotations

from html.parser import HTMLParser

from streams.report import Note, Picture, Section, Sheet, figure, render, svg_of

EVIL = "<script>alert(1)</script>"


class Tags(HTMLParser):
    """Which elements and addresses a page has."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.names.add(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href")]


def drawn() -> str:
    with figure() as (made, axes):
        axes.plot([0, 1, 2], [1, 3, 2], label=EVIL)
        axes.legend()
        return svg_of(made)


def page() -> str:
    parts = [
        Note(EVIL, "bad"),
        Sheet(["release", "found"], [[EVIL, 3]], caption=EVIL),
        Picture(drawn(), EVIL),
    ]
    return render(EVIL, [Section(EVIL, parts)], made_by=EVIL)


def test_page_needs_nothing_else() -> None:
    """No script, nothing that is loaded, and text is text wherever it comes from."""
    found = Tags()
    found.feed(page())
    assert {"svg", "table", "figure", "section"} <= found.names
    assert not {"script", "link", "img", "iframe", "object"} & found.names
    assert all(address.startswith("#") for address in found.addresses)
    assert EVIL not in page()


def test_page_is_the_same_each_time() -> None:
    """A report can be compared with the one of yesterday."""
    assert page() == page()
