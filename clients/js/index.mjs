/** The tracker for bundlers: `import { create } from "eddyline"`. On a server, where there is no document, nothing happens. */
import "./eddyline.js";

export const create = (options) => globalThis.eddyline?.create(options);
