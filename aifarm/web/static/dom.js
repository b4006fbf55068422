/** Elements of a page, made and replaced: the only place that touches `document`. */

/**
 * An element. `on…` are listeners, `class`, `dataset` and `style` as in HTML, true and false set
 * and leave out, null leaves out; children are elements or text, never markup.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...any} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  element.append(...shown(children));
  return element;
}

/**
 * An element of an SVG picture.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...any} children
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(element, attributes);
  element.append(...shown(children));
  return element;
}

/**
 * Puts `children` in place of what an element holds.
 * @param {Element} element
 * @param {...any} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...shown(children));
}

/** @param {any[]} children @returns {(Node | string)[]} */
function shown(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/** @param {Element} element @param {Record<string, any>} attributes */
function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2).toLowerCase(), value);
    // By the object: a strict policy refuses style attributes.
    else if (name === "style") /** @type {HTMLElement} */ (element).style.cssText = value;
    else if (name === "dataset") Object.assign(/** @type {HTMLElement} */ (element).dataset, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * Calls `draw` at the next frame, once for all calls until then.
 * @param {() => void} draw
 * @returns {() => void}
 */
export function coalesced(draw) {
  let asked = 0;
  return () => {
    if (asked) return;
    asked = requestAnimationFrame(() => {
      asked = 0;
      draw();
    });
  };
}

/**
 * Like `fill`, but what is alike stays the same element, so that focus, a click under way, a
 * selection and transitions outlive it. Elements of the same `data-key` are alike; what listens has
 * to be within one, and to depend on its key alone: listeners stay as they were.
 * @param {Element} element
 * @param {...any} children
 */
export function update(element, ...children) {
  const keyed = new Map([...element.children].map((child) => [key(child), child]));
  let place = element.firstChild;
  for (const child of shown(children)) {
    const fresh = child instanceof Node ? child : document.createTextNode(child);
    const found = key(fresh) ? keyed.get(key(fresh)) : place && !key(place) ? place : null;
    if (!found || found.nodeName !== fresh.nodeName) {
      element.insertBefore(fresh, place);
      continue;
    }
    if (found === place) place = place.nextSibling;
    else element.insertBefore(found, place);
    become(found, fresh);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = /** @type {ChildNode | null} */ (next);
  }
}

/** @param {Node} node */
function key(node) {
  return node instanceof HTMLElement ? node.dataset.key : undefined;
}

/** @param {Node} known @param {Node} fresh */
function become(known, fresh) {
  if (!(known instanceof HTMLElement && fresh instanceof HTMLElement)) {
    if (known.nodeValue !== fresh.nodeValue) known.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...known.attributes]) if (!fresh.hasAttribute(name)) known.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes])
    if (known.getAttribute(name) !== value) {
      // By the object: a strict policy refuses style attributes.
      if (name === "style") known.style.cssText = fresh.style.cssText;
      else known.setAttribute(name, value);
    }
  update(known, ...fresh.childNodes);
}
