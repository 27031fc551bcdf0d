// @ts-check
// The only place that makes nodes. Text becomes text nodes: no string is ever read as HTML
// (the page's policy forbids it as well: require-trusted-types-for 'script'; trusted-types 'none').

/** @typedef {Node | string | number | null | undefined | false} Kid */
/** @typedef {Kid | Kid[] | Kid[][]} Kids */

const SVG = 'http://www.w3.org/2000/svg';

/** Of a file out of a call, which the server sends as a picture or not at all. @param {unknown} address */
const isOfFile = (address) => typeof address === 'string' && /^\/api\/calls\/[0-9a-f-]{36}\/files\/[0-9a-f]{32}$/.test(address);

/** @param {Element} element @param {Record<string, any>} props @param {Kids[]} kids */
function dress(element, props, kids) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) {
      if (typeof value !== 'function') throw new TypeError(`${name} takes a function`);
      element.addEventListener(name.slice(2), value);
    } else if (name === 'src' && !isOfFile(value)) {
      throw new TypeError('pictures come out of calls only');
    } else if (name === 'href' && !/^(#|\/(?!\/))/.test(value)) {
      throw new TypeError('links lead to this console only');
    } else {
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
  for (const kid of kids.flat(3)) {
    if (kid !== null && kid !== undefined && kid !== false) element.append(kid instanceof Node ? kid : String(kid));
  }
  return element;
}

/**
 * An HTML element.
 * @param {string} tag @param {Record<string, any>} [props] @param {Kids[]} kids
 * @returns {HTMLElement}
 */
export function h(tag, props = {}, ...kids) {
  return /** @type {HTMLElement} */ (dress(document.createElement(tag), props, kids));
}

/**
 * An SVG element.
 * @param {string} tag @param {Record<string, any>} [props] @param {Kids[]} kids
 * @returns {SVGElement}
 */
export function svg(tag, props = {}, ...kids) {
  return /** @type {SVGElement} */ (dress(document.createElementNS(SVG, tag), props, kids));
}

/** What a form of a logged-in person's page carries; nothing where nobody logged in. */
export function formToken() {
  const token = document.querySelector('meta[name=form-token]')?.getAttribute('content');
  return token ? h('input', { type: 'hidden', name: 'form_token', value: token }) : null;
}

/** The element of a template that must be there. @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}
