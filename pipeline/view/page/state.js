// What is asked for, and who is told when it changes.

export const state = {
  about: null,
  fields: Object.create(null), // filters by field: {words: [...]} or {least, most, none}
  words: "",
  condition: "",
  lasso: [],
  marked: false,
  charts: [],
  by_share: false,
  sort: "rank",
  down: false,
  answer: null,
  chosen: new Set(), // rows
  shownAs: "list",
};

const heard = {};

export function on(what, act) {
  (heard[what] ??= []).push(act);
}

export function tell(what, ...given) {
  for (const act of heard[what] ?? []) act(...given);
}

export function ask(more = {}) {
  const { fields, words, condition, lasso, marked, charts, by_share, sort, down } = state;
  return { fields, words, condition, lasso, marked, charts, by_share, sort, down, ...more };
}

export function filter(name, value) {
  if (value === null) delete state.fields[name];
  else state.fields[name] = value;
  tell("ask");
}

export function clear() {
  Object.assign(state, { fields: Object.create(null), words: "", condition: "", lasso: [], marked: false });
  tell("cleared");
  tell("ask");
}
