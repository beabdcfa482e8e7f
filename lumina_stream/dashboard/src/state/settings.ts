// What a person has chosen and the browser keeps: the theme, widths. Nothing here leaves the
// browser.

import { Atom } from "./atom";

export type ThemeChoice = "system" | "light" | "dark";

/** Return an atom whose value outlives the page; what is stored and not `isValid` is ignored. */
export function setting<T>(
  name: string,
  initial: T,
  isValid: (value: unknown) => value is T,
): Atom<T> {
  const key = `lumina.${name}`;
  const atom = new Atom(initial);
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(key) ?? "null");
    if (isValid(stored)) atom.set(stored);
  } catch {
    // No storage, or another program's words in it: the page starts as for everyone.
  }
  atom.watch(() => {
    try {
      localStorage.setItem(key, JSON.stringify(atom.get()));
    } catch {
      // Refused or full: chosen for this page alone.
    }
  });
  return atom;
}

export const LABELS_LEAST = 240;
export const LABELS_MOST = 560;

/** Width of the trace page's labels in px; on a narrow window they take LABELS_LEAST. */
export const labelWidth = setting(
  "labels",
  360,
  (value): value is number =>
    typeof value === "number" && value >= LABELS_LEAST && value <= LABELS_MOST,
);

export const themeChoice = setting<ThemeChoice>(
  "theme",
  "system",
  (value): value is ThemeChoice => value === "system" || value === "light" || value === "dark",
);

/** What the page looks like now; a canvas that took colours from the style takes them anew. */
export const theme = new Atom<"light" | "dark">("light");

/** True where the person asked for less motion: no tints or pulses, text ticks once a second. */
export const reducedMotion = new Atom(false);

/** Follow the choice and the system; called once, before the first drawing. */
export function applySettings(): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const apply = () => {
    const choice = themeChoice.get();
    const shown = choice === "system" ? (dark.matches ? "dark" : "light") : choice;
    document.documentElement.dataset.theme = shown;
    theme.set(shown);
    reducedMotion.set(still.matches);
  };
  dark.addEventListener("change", apply);
  still.addEventListener("change", apply);
  themeChoice.watch(apply);
  apply();
}
