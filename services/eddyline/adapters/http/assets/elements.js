/** Elements from text. Nothing here, or anywhere in these pages, makes markup of a string. */

/** Make an element with these properties and children. */
export function element(tag, properties = {}, children = []) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Return the address if it leads to a page; null for any other scheme. */
export function pageAddress(text) {
  if (!text || !URL.canParse(text)) return null;
  const { protocol, href } = new URL(text);
  return protocol === "https:" || protocol === "http:" ? href : null;
}

/** Return the element of this `data-part` inside another. */
export function part(parent, name) {
  return parent.querySelector(`[data-part="${name}"]`);
}
