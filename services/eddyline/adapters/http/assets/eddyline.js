/** Eddyline's tracker: docs/tracker.md */
(() => {
  if (typeof document === "undefined") return;
  const [SEEN_AFTER_MS, SESSION_MS] = [1000, 1_800_000];
  const [FIRST_RETRY_MS, LAST_RETRY_MS] = [1000, 60_000];
  const [MAX_BATCH, MAX_KEPT] = [50, 300];
  const [STATE, QUEUE] = ["eddyline", "eddyline.queue."];
  const [ITEM, REQUEST] = ["[data-eddyline-item]", "[data-eddyline-request]"];
  const script = document.currentScript;

  // crypto.randomUUID is missing without TLS.
  const uuid = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(36)).join("");

  /** Nothing it throws reaches the page. */
  const safe = (work) => (...given) => {
    try {
      const made = work(...given);
      return made instanceof Promise ? made.catch(() => null) : made;
    } catch {
      return null;
    }
  };
  const load = safe((name) => JSON.parse(localStorage.getItem(name)));
  const store = safe((name, value) => (value ? localStorage.setItem(name, JSON.stringify(value)) : localStorage.removeItem(name)));

  function create({ key, listKey, proof, user, item: pageItem, send, consent, respectDoNotTrack, clicks = true, root = document, url = script ? script.src.replace(/\/[^/]*$/, "") : "" } = {}) {
    const isOff = respectDoNotTrack && (navigator.doNotTrack === "1" || navigator.globalPrivacyControl);
    const stopping = new AbortController();
    const tab = QUEUE + uuid();
    const askedFor = new Map(); // request id → whom the list is for
    const reported = new Set();
    const unreported = new Map();
    const [places, timers] = [new WeakMap(), new WeakMap()];
    const beacons = !send;
    let [queue, batch, retryMs] = [[], [], FIRST_RETRY_MS];
    let state, sending, scanning, page;

    // Who: kept by the browser with consent alone.

    const renew = (kept) => (state = { anonymous: uuid(), links: [], ...kept, ...(user && { user }) });
    const save = () => consent && !isOff && store(STATE, state);
    const who = () => (isOff ? {} : state.user ? { user_id: state.user } : { anonymous_id: state.anonymous });

    function session() {
      const now = Date.now();
      if (!(now - state.active < SESSION_MS)) state.session = uuid();
      state.active = now;
      save();
      return state.session;
    }

    const ids = () => (isOff ? {} : { ...who(), session_id: session() });

    // Events: kept until acknowledged.

    const address = () => `${url}/v1/events?${new URLSearchParams({ ...(key && { key }), ...(proof && { proof }) })}`;
    const pack = (events) => JSON.stringify({ events, sent_at: Date.now() });
    const keep = () => store(tab, consent && queue.length && queue);
    const without = (sent) => queue.filter((event) => !sent.includes(event));
    const flush = async () => !queue.length || (sending ??= deliver());

    send ??= async (body) => {
      const keepalive = body.length < 20_000; // of 64 KiB
      const { status } = await fetch(address(), { method: "POST", body, keepalive });
      return status !== 429 && status < 500; // others would be refused again
    };

    async function deliver() {
      batch = queue.slice(0, MAX_BATCH);
      const isSent = await safe(send)(pack(batch));
      if (isSent) queue = without(batch);
      else setTimeout(flush, retryMs);
      retryMs = isSent ? FIRST_RETRY_MS : Math.min(2 * retryMs, LAST_RETRY_MS);
      batch = [];
      sending = null;
      keep();
      return isSent && flush();
    }

    function add(event, person = who()) {
      if (isOff) return null;
      const event_id = uuid();
      const made = JSON.stringify({ ...person, event_id, session_id: session(), timestamp: Date.now(), ...event });
      queue = [...queue, JSON.parse(made)].slice(-MAX_KEPT);
      if (retryMs === FIRST_RETRY_MS) setTimeout(flush);
      return event_id;
    }

    /** The page may be gone in a moment. */
    function leave() {
      report();
      look(true);
      const rest = without(batch);
      if (beacons && rest.length && navigator.onLine && navigator.sendBeacon(address(), pack(rest))) queue = batch;
      flush();
      keep();
    }

    function track(type, item, more) {
      if (!item) return null;
      const item_id = `${item}`;
      const [, request, person] = state.links.find(([one]) => one === item_id) ?? [];
      const event = { type, item_id, request_id: request, ...more };
      return add(event, askedFor.get(event.request_id) ?? (event.request_id === request ? person : undefined));
    }

    // Views: how long the item was visible.

    const itemOfPage = safe(() => typeof pageItem === "function" ? pageItem() : pageItem ?? document.querySelector("[name='eddyline:item']").content);

    function look(isOver) {
      const item = itemOfPage() || null;
      const now = performance.now();
      if (page?.since && (page.item !== item || isOver || document.hidden)) {
        const dwell_ms = Math.round(now - page.since);
        page.since = 0;
        if (page.isFirst || dwell_ms >= SEEN_AFTER_MS) track("view", page.item, { dwell_ms });
        page.isFirst = false;
      }
      if (page?.item !== item) page = item && { item, isFirst: true };
      if (page && !document.hidden) page.since ||= now;
    }

    // Impressions: half in view for a second.

    function describe(shown) {
      const list = shown.closest(REQUEST);
      const { eddylineItem: item, eddylinePosition: position } = shown.dataset;
      return [item, list?.dataset.eddylineRequest, +position || [...(list ?? root).querySelectorAll(ITEM)].indexOf(shown) + 1];
    }

    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        clearTimeout(timers.get(target));
        if (isIntersecting) timers.set(target, setTimeout(safe(note), SEEN_AFTER_MS, target));
      }
    }, { threshold: 0.5 });

    function note(shown) {
      const [, request, position] = describe(shown);
      const name = request + position;
      if (!request || reported.has(name) || document.hidden) return;
      reported.add(name);
      if (!unreported.size) setTimeout(safe(report), SEEN_AFTER_MS);
      unreported.set(request, [...(unreported.get(request) ?? []), position]);
    }

    function report() {
      for (const [request_id, positions] of unreported) add({ type: "impression", request_id, positions }, askedFor.get(request_id));
      unreported.clear();
    }

    /** Watch what is new, or of another list now. */
    function scan(isAll) {
      scanning = 0;
      look();
      for (const shown of root.querySelectorAll(ITEM)) {
        const [item, request, position] = describe(shown);
        const place = item + request + position;
        if (request && !askedFor.has(request)) askedFor.set(request, who());
        if (!isAll && places.get(shown) === place) continue;
        places.set(shown, place);
        observer.unobserve(shown);
        observer.observe(shown);
      }
    }

    const mutations = new MutationObserver(() => (scanning ||= setTimeout(safe(scan))));

    // Clicks: joined to their list, and so is what follows.

    function react({ target, type: kind, button }) {
      const shown = target.closest(ITEM);
      const type = target.closest("[data-eddyline-type]")?.dataset.eddylineType ?? "click";
      if (!shown || type === "none" || (kind === "auxclick" && button !== 1)) return;
      const [item, request] = describe(shown);
      if (request) state.links = [[item, request, askedFor.get(request) ?? who()], ...state.links.filter(([one]) => one !== item)].slice(0, MAX_BATCH);
      track(type, item);
    }

    function render(item, template) {
      if (!template.content) return template(item);
      const tile = template.content.firstElementChild.cloneNode(true);
      for (const field of tile.querySelectorAll("[data-eddyline-field]")) field.textContent = item[field.dataset.eddylineField] ?? "";
      const link = tile.querySelector("a");
      if (link && /^https?:/i.test(item.url)) link.href = item.url;
      return tile;
    }

    async function recommend(element, { template, ...request } = {}) {
      const list = element.nodeType ? element : document.querySelector(element);
      const inside = list.querySelector("template");
      const person = who();
      const here = page && { recent: [{ item_id: page.item, type: "view" }], exclude: [page.item] };
      const headers = { "Content-Type": "application/json", ...(listKey && { Authorization: `Bearer ${listKey}` }), ...(proof && { "Eddyline-Proof": proof }) };
      const body = JSON.stringify({ ...ids(), ...here, ...request });
      const answer = await fetch(`${url}/v1/recommendations`, { method: "POST", headers, body });
      if (!answer.ok) return null;
      const found = await answer.json();
      askedFor.set(found.request_id, person);
      const tiles = found.items.map((item) => {
        const tile = render(item, template ?? inside);
        Object.assign(tile.dataset, { eddylineItem: item.item_id, eddylinePosition: item.rank });
        return tile;
      });
      list.dataset.eddylineRequest = found.request_id;
      list.replaceChildren(...(inside ? [inside] : []), ...tiles);
      return found;
    }

    function identify(name, more) {
      proof = more?.proof ?? proof;
      if (state.user === name) return;
      if (state.user) reset();
      else add({ type: "identify", anonymous_id: state.anonymous, user_id: name });
      state.user = name;
      save();
    }

    function reset() {
      leave();
      user = null;
      renew();
      save();
    }

    function allow(given) {
      consent = given;
      save();
      keep();
      if (!given) store(STATE);
    }

    function stop() {
      leave();
      stopping.abort();
      observer.disconnect();
      mutations.disconnect();
    }

    const on = (target, name, react) => target.addEventListener(name, safe(react), { capture: true, signal: stopping.signal });
    renew(consent && load(STATE));
    for (const name of (consent && beacons && safe(() => Object.keys(localStorage))()) || []) {
      if (!name.startsWith(QUEUE)) continue;
      queue.push(...load(name));
      store(name);
    }
    if (!isOff) {
      on(document, "visibilitychange", () => (document.hidden ? leave() : scan(true)));
      on(window, "pagehide", leave);
      on(window, "online", flush);
      if (clicks) for (const name of ["click", "auxclick"]) on(root, name, react);
      mutations.observe(root, { subtree: true, childList: true, attributeFilter: ["content", "data-eddyline-item", "data-eddyline-request"] });
      safe(scan)();
      flush();
    }
    const calls = { track, identify, reset, consent: allow, recommend, ids, flush, stop };
    for (const name in calls) calls[name] = safe(calls[name]);
    return calls;
  }

  const said = script && Object.entries(script.dataset).map(([name, value]) => [name, value !== "false" && value]);
  window.eddyline = { create, ...(said && create(Object.fromEntries(said))) };
})();
