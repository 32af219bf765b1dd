/** What someone may do with an item; `events.weights` in Eddyline's settings may have others. */
export type EventType =
  | "view"
  | "click"
  | "like"
  | "save"
  | "share"
  | "cart"
  | "purchase"
  | "rating"
  | "skip"
  | "dislike"
  | "hide"
  | (string & {});

/** What is known of an event beyond its type and item. */
export interface Details {
  /** A rating, a price. */
  value?: number;
  /** How long it was looked at, in milliseconds. */
  dwell_ms?: number;
  /** The list that it comes from; where missing, the one in which the item was last clicked on. */
  request_id?: string;
  context?: Record<string, string | number | boolean>;
}

export interface Options {
  /** Where Eddyline answers; where missing, whence the script came, and, imported, this page's own address. */
  url?: string;
  /** A key with the scope `events` alone. It is in the page, for everyone to see. */
  key?: string;
  /** A key with the scope `lists`, for `recommend`. */
  listKey?: string;
  /** Of the user, where Eddyline has an identity secret. */
  proof?: string;
  /** Who is signed in, where that is known from the start. */
  user?: string;
  /** The item that the page is about, or what returns it; where missing, `<meta name="eddyline:item" content="…">`. */
  item?: string | (() => string | null | undefined);
  /** Whether the browser may keep an anonymous id, the session, and what couldn't be sent. By default not. */
  consent?: boolean;
  /** Whether to do nothing where the browser asks not to be tracked. By default not. */
  respectDoNotTrack?: boolean;
  /** Whether clicks on items are events. By default they are. */
  clicks?: boolean;
  /** The part of the page to watch; where missing, all of it. */
  root?: Document | Element;
  /** Sends a body for `POST /v1/events` instead of the tracker; false: it is to be sent again. */
  send?: (body: string) => Promise<boolean>;
}

export interface Item {
  item_id: string;
  rank: number;
  score: number;
  title?: string | null;
  category?: string | null;
  url?: string | null;
  [field: string]: unknown;
}

export interface List {
  request_id: string;
  items: Item[];
  next?: string | null;
  [field: string]: unknown;
}

export interface ListOptions {
  surface?: string;
  limit?: number;
  /** What makes a tile; where missing, the `<template>` inside the element. */
  template?: HTMLTemplateElement | ((item: Item) => HTMLElement);
  /** Whatever else `POST /v1/recommendations` takes. */
  [field: string]: unknown;
}

/** None of its calls throws, or rejects. */
export interface Tracker {
  /** Send what someone did with an item. Return the event's id; null where nothing is sent. */
  track(type: EventType, item: string | number, details?: Details): string | null;
  /** Say who has signed in: what was done anonymously becomes theirs, once. */
  identify(user: string, more?: { proof?: string }): void;
  /** Say that they have signed out: a stranger from now on. */
  reset(): void;
  /** Say whether the browser may keep anything. Without, what it has kept is removed. */
  consent(given: boolean): void;
  /** Fill an element with a list. Return the list; null where it can't be had, and nothing has changed. */
  recommend(element: Element | string, options?: ListOptions): Promise<List | null>;
  /** Name the person and the session as requests do, for lists that the page's own server asks for. */
  ids(): { user_id?: string; anonymous_id?: string; session_id?: string };
  /** Send what is to be sent. Return whether all of it was acknowledged, or refused for good. */
  flush(): Promise<boolean | null>;
  /** Stop watching the page. */
  stop(): void;
}

/** Track a page, or a part of it. Undefined on a server, where there is no document. */
export function create(options?: Options): Tracker | undefined;

declare global {
  interface Window {
    /** The tracker of the script element, whose options are its `data-…` attributes. */
    eddyline: Tracker & { create(options?: Options): Tracker };
  }
}
