/** The searches of this browser, kept in it alone. */

const MOST = 30;
const STORE = "searches";

let opened = null;

/** All, newest first; none where the browser keeps nothing. */
export async function all() {
  const found = await done((store) => store.getAll(), "readonly").catch(() => []);
  return (found ?? []).sort((a, b) => b.at - a.at);
}

/** The search with this trace id, as it was kept; null where this browser has not seen it. */
export async function find(trace) {
  const kept = (await all()).flatMap((entry) => entry.searches);
  return kept.find((search) => search.ttc.trace_id === trace) ?? null;
}

/** Keep one: `{at, state, searches}`; the oldest ones beyond the thirtieth are forgotten. */
export async function keep(entry) {
  await done((store) => store.put(entry), "readwrite").catch(() => {});
  for (const old of (await all()).slice(MOST)) await forget(old.at);
}

export async function forget(at) {
  await done((store) => store.delete(at), "readwrite").catch(() => {});
}

export async function forgetAll() {
  await done((store) => store.clear(), "readwrite").catch(() => {});
}

function database() {
  opened ??= new Promise((resolve, reject) => {
    const asked = indexedDB.open("mull", 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore(STORE, { keyPath: "at" });
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
  return opened;
}

async function done(work, mode) {
  const base = await database();
  return new Promise((resolve, reject) => {
    const transaction = base.transaction(STORE, mode);
    const asked = work(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(asked.result);
    transaction.onabort = () => reject(transaction.error);
    transaction.onerror = () => reject(transaction.error);
  });
}
