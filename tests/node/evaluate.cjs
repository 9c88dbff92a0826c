// Evaluates flags of a document as flagd's providers for JavaScript do.
// Standard input: {"document": text, "asked": [[key, kind, fallback, context], ...]}.
const { FlagdCore } = require("@openfeature/flagd-core");

const input = JSON.parse(require("fs").readFileSync(0, "utf-8"));
const said = [];
const logger = Object.fromEntries(
  ["error", "warn", "info", "debug"].map((level) => [level, (...words) =>
    ["error", "warn"].includes(level) && said.push(words.map(String).join(" "))]));
const core = new FlagdCore(undefined, logger);
let refused = null;
try {
  core.setConfigurations(input.document);
} catch (error) {
  refused = String(error);
}
const answers = input.asked.map(([key, kind, fallback, context]) => {
  try {
    const found = core[`resolve${kind}Evaluation`](key, fallback, context, logger);
    return [found.value, found.variant ?? null, found.reason ?? null];
  } catch (error) {
    return [fallback, null, error.code ?? String(error)];
  }
});
console.log(JSON.stringify({ refused, said, answers }));
