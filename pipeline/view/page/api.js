// Questions to the server; the token stands in the address, behind #, and goes to nobody else.

const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";

async function asked(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { ...options.headers, "x-tamis-token": token } });
  if (answer.status === 403) throw new Error("Open the address that `tamis view` printed, with its token.");
  const binary = answer.headers.get("content-type") === "application/octet-stream";
  const found = binary ? await answer.arrayBuffer() : await answer.json();
  if (!answer.ok) throw new Error(found.error ?? `the server said ${answer.status}`);
  return found;
}

export const get = (path, query = {}) => asked(`/api/${path}?${new URLSearchParams(query)}`);

export const post = (path, body) =>
  asked(`/api/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

export const picture = (query, side) => `/api/picture?${new URLSearchParams({ ...query, side, token })}`;

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
