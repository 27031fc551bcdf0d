// @ts-check
// What every page has: light or dark, copying, a short notice, and the keys `t` and `/`.
import { h } from './dom.js';
import { jump } from './jump.js';

const root = document.documentElement;
root.classList.add('script');

export function toggleTheme() {
  const shown = root.dataset.theme;
  const isDark = shown === 'dark' || (shown === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches);
  root.dataset.theme = isDark ? 'light' : 'dark';
  // A cookie, so that the server can write the next page in the right colours from its first byte.
  const address = new URL(location.href);
  address.searchParams.delete('theme'); // else it would speak louder than the cookie
  history.replaceState(history.state, '', address);
  document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
}

const notices = h('div', { role: 'status' }); // there before its text is, else nobody would hear that
document.body.append(notices);

/** @param {string} text */
export function toast(text) {
  const notice = h('div', { class: 'toast' }, text);
  notices.replaceChildren(notice);
  setTimeout(() => notice.remove(), 1800);
}

/** @param {string} text @param {string} done */
export async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    toast(done);
  } catch {
    toast('The browser did not allow copying here');
  }
}

document.addEventListener('click', (event) => {
  const button = /** @type {Element} */ (event.target).closest('[data-act]');
  const act = button?.getAttribute('data-act');
  if (act === 'theme') toggleTheme();
  if (act === 'jump') jump();
  if (act === 'copy-command') copy(button?.closest('.cmd')?.querySelector('code')?.textContent ?? '', 'Copied');
});

document.addEventListener('change', (event) => {
  const changed = /** @type {HTMLElement} */ (event.target);
  if (changed.matches('[data-autosubmit] select')) changed.closest('form')?.requestSubmit();
});

addEventListener('keydown', (event) => {
  if (event.key === 'k' && (event.ctrlKey || event.metaKey) && !document.querySelector('dialog[open]')) {
    event.preventDefault();
    jump();
    return;
  }
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || target.matches('input, textarea, select')) return;
  if (document.querySelector('dialog[open]')) return;
  if (event.key === 't') toggleTheme();
  if (event.key === '/') {
    const search = /** @type {HTMLElement | null} */ (document.querySelector('input[type=search]'));
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
});
