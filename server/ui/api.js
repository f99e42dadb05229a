/** Talking to the server that this page came from, and to no other. */

const STORED = "mull.key";

/** What the server refused, with the field that it named. */
export class ServerError extends Error {
  constructor({ message, param = null, code = null, type = null }, status) {
    super(message);
    Object.assign(this, { param, code, type, status });
  }
}

/** The API key of this tab; empty where there is none. */
export const key = {
  get: () => sessionStorage.getItem(STORED) ?? "",
  set: (value) => (value === "" ? sessionStorage.removeItem(STORED) : sessionStorage.setItem(STORED, value)),
};

/**
 * A request to the API, relative to where the page is, so that it works behind a proxy with a prefix too.
 *
 * @throws {ServerError} The server refused or cannot be reached.
 */
export async function request(path, { body, signal } = {}) {
  const headers = key.get() === "" ? {} : { Authorization: `Bearer ${key.get()}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(`../${path}`, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError({ message: "The server does not answer. Is it still running?", code: "unreachable" }, 0);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

/** What a GET gives, as data. */
export const get = async (path) => (await request(path)).json();

async function refusal(response) {
  const text = await response.text();
  try {
    return new ServerError(JSON.parse(text).error, response.status);
  } catch {
    return new ServerError({ message: text.slice(0, 500) || response.statusText }, response.status);
  }
}
