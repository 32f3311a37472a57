// Questions to the server; the token stands in the address, behind #, and goes to nobody else.

const given = new URLSearchParams(location.hash.slice(1));
const token = given.get("token") ?? "";
let run = given.get("run") ?? ""; // empty: the one that was asked for in the terminal

// What an address leads to: the run, and what is asked of it.
export const linked = () => JSON.parse(given.get("ask") ?? "{}");
export const about = (name) => (run = name ?? run);

export function link(ask) {
  const parts = { token, ...(run ? { run } : {}), ...(Object.keys(ask).length ? { ask: JSON.stringify(ask) } : {}) };
  history.replaceState(null, "", `#${new URLSearchParams(parts)}`);
}

async function asked(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...options.headers, "x-tamis-token": token } });
  } catch {
    throw new Error("No answer: `tamis view` has ended. Start it again, and open the address that it prints.");
  }
  if (answer.status === 403) throw new Error("Open the address that `tamis view` printed, with its token.");
  const binary = answer.headers.get("content-type") === "application/octet-stream";
  const found = binary ? await answer.arrayBuffer() : await answer.json().catch(() => ({ error: `the server said ${answer.status}` }));
  if (!answer.ok) throw new Error(found.error ?? `the server said ${answer.status}`);
  return found;
}

export const get = (path, query = {}) => asked(`/api/${path}?${new URLSearchParams({ ...query, run })}`);

export const post = (path, body) =>
  asked(`/api/${path}?${new URLSearchParams({ run })}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

export const picture = (query, side) => `/api/picture?${new URLSearchParams({ ...query, side, run, token })}`;

// Of a stream of questions the newest: while one is under way, those that come are but remembered.
export function newest(ask) {
  let waiting = null;
  let busy = false;
  return async function next(...given) {
    waiting = given;
    if (busy) return;
    busy = true;
    try {
      while (waiting) {
        const now = waiting;
        waiting = null;
        await ask(...now);
      }
    } finally {
      busy = false;
    }
  };
}
