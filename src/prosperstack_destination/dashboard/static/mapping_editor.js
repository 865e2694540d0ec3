// Code editor of the mapping file: CodeMirror in place of the text field, which works without this script as well.

const field = document.getElementById("draft");
const form = field.form;
const trial = document.getElementById("trial");

// --- Completion from the JSON Schema, and of the account's properties and traits -------------------------------------

let loading = null;
const schema = () => (loading ??= fetch("/api/mapping.schema.json").then((answer) => answer.json()));

const values = (selector) =>
  [...document.querySelectorAll(selector)].filter((each) => each.value).map((each) => ({ text: each.value, about: each.label }));
const OF_THE_ACCOUNT = { property: () => values("#rule-property option"), trait: () => values("#traits option") };

// The alternatives of a schema: references resolved, and the items of an array in its place.
const alternatives = (root, each) => {
  if (each.$ref) return alternatives(root, root.$defs[each.$ref.split("/").at(-1)]);
  const inner = [...(each.anyOf ?? []), ...(each.items ? [each.items] : [])];
  return inner.length ? inner.flatMap((one) => alternatives(root, one)) : [each];
};

const KEY = /^(\s*(?:- +)*)"?([\w.$-]+)"?\s*:(?:\s|$)/;

// The keys that lead to a column of a line, from the top of the file.
const parents = (cm, line, column) => {
  const path = [];
  for (let above = line - 1; above >= 0 && column > 0; above--) {
    const [, indent, key] = KEY.exec(cm.getLine(above)) ?? [];
    if (key === undefined || indent.length >= column) continue;
    path.unshift(key);
    column = indent.length;
  }
  return path;
};

const offers = (root, path, asValue) => {
  let found = alternatives(root, root);
  for (const key of path) {
    found = found.flatMap((each) => each.properties?.[key] ?? []).flatMap((each) => alternatives(root, each));
  }
  const keys = asValue ? [] : found.flatMap((each) => Object.entries(each.properties ?? {}));
  return [
    ...keys.map(([key, { description }]) => ({ text: `${key}: `, about: description })),
    ...found.flatMap((each) => each.enum ?? (each.type === "boolean" ? [true, false] : each.const ?? []))
      .map((value) => ({ text: String(value) })),
  ];
};

const render = (element, _, { text, about }) => {
  element.append(text.trimEnd());
  if (!about) return;
  const small = document.createElement("small");
  small.textContent = about;
  element.append(small);
};

const hint = async (cm) => {
  const { line, ch } = cm.getCursor();
  const before = cm.getLine(line).slice(0, ch);
  const [, indent, key, typed] = /^(\s*(?:- +)*)(?:"?([\w.$-]+)"?:\s+)?(.*)$/.exec(before);
  const path = [...parents(cm, line, indent.length), ...(key ? [key] : [])];
  const all = [...(OF_THE_ACCOUNT[key]?.() ?? []), ...offers(await schema(), path, key !== undefined)];
  const unique = [...new Map(all.map((each) => [each.text, each])).values()];
  if (unique.some((each) => each.text.trimEnd() === typed)) return null; // it is complete: Enter starts a new line
  const list = unique.filter((each) => each.text.toLowerCase().startsWith(typed.toLowerCase()));
  const from = CodeMirror.Pos(line, ch - typed.length);
  const data = { list: list.map((each) => ({ ...each, render })), from, to: CodeMirror.Pos(line, ch) };
  CodeMirror.on(data, "shown", () => {
    const box = document.querySelector(".CodeMirror-hints");
    box.setAttribute("aria-label", "Completions");
    box.tabIndex = 0; // a scrolling box has to be in reach of the keyboard
  });
  return data;
};

// --- Errors of the preview, at their lines ---------------------------------------------------------------------------

const faults = (text) => {
  const lines = text.split("\n");
  return [...trial.querySelectorAll("a[data-line]")].map(({ dataset, parentElement }) => {
    const line = Math.min(dataset.line, lines.length) - 1;
    const from = CodeMirror.Pos(line, Math.min(dataset.column - 1, lines[line].search(/\S|$/)));
    const to = CodeMirror.Pos(line, lines[line].trimEnd().length);
    return { from, to, message: parentElement.querySelector(".message").textContent, severity: dataset.severity };
  });
};

// --- Indentation: of the key above, and deeper below a key without a value --------------------------------------------

const startLine = (cm) => {
  const { line, ch } = cm.getCursor("from");
  const before = cm.getLine(line).slice(0, ch);
  const indent = (KEY.exec(before)?.[1] ?? /^\s*/.exec(before)[0]).length + (/:\s*$/.test(before) ? 2 : 0);
  cm.replaceSelection(`\n${" ".repeat(indent)}`, "end", "+input");
};

// --- The editor -------------------------------------------------------------------------------------------------------

const editor = CodeMirror.fromTextArea(field, {
  mode: "yaml",
  lineNumbers: true,
  lineWrapping: true,
  tabSize: 2,
  screenReaderLabel: document.querySelector("label[for=draft]").textContent,
  gutters: ["CodeMirror-lint-markers", "CodeMirror-linenumbers"],
  lint: { getAnnotations: faults, lintOnChange: false, highlightLines: true, selfContain: true },
  hintOptions: { hint, completeSingle: false, container: document.getElementById("main") },
  extraKeys: {
    "Ctrl-Space": "autocomplete",
    Enter: startLine,
    Tab: (cm) => (cm.somethingSelected() ? cm.indentSelection("add") : cm.execCommand("insertSoftTab")),
    "Shift-Tab": "indentLess",
    Esc: (cm) => cm.addKeyMap(LEAVING),
  },
});
// After Escape, Tab moves the focus as everywhere else.
const LEAVING = { name: "leaving", Tab: false, "Shift-Tab": false };
const stay = () => editor.removeKeyMap(LEAVING.name);
editor.on("blur", stay);
editor.on("inputRead", stay);

const input = editor.getInputField();
for (const [name, value] of Object.entries({ role: "textbox", "aria-multiline": "true", "aria-describedby": "draft-hint" })) {
  input.setAttribute(name, value);
}

editor.on("changes", () => {
  if (editor.getValue() === field.value) return;
  editor.save();
  field.dispatchEvent(new Event("input", { bubbles: true }));
});
field.addEventListener("input", () => {
  if (editor.getValue() !== field.value) editor.setValue(field.value); // an imported file
});
editor.on("inputRead", (cm, change) => {
  if (/^[\w$]$/.test(change.text.join("\n")) && !cm.state.completionActive) cm.showHint();
});
form.addEventListener("shown", () => editor.performLint());
trial.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-line]");
  if (!link) return;
  event.preventDefault();
  editor.setCursor(link.dataset.line - 1, link.dataset.column - 1);
  editor.focus();
});
