// The collections of the store, which several parts of the page show.

import { call } from "./api.js";

const told = new EventTarget();
let names = [];

/** All collections as the server last listed them. */
export const collections = () => names;

/** Ask the server again; whoever listens is told. Raises ApiError. */
export async function reloadCollections() {
  names = (await call("GET", "/v1/collections")).collections;
  told.dispatchEvent(new Event("change"));
}

/** Call `listener` whenever the collections were asked for. */
export const onCollections = (listener) => told.addEventListener("change", listener);
