// The colours that canvases draw with: those of the style, read once a theme.

import { KIND_GROUPS } from "../../model/kinds";
import { theme } from "../../state/settings";

export type Palette = {
  background: string;
  surface: string;
  line: string;
  control: string;
  text: string;
  muted: string;
  selected: string;
  running: string;
  error: string;
  interrupted: string;
  lost: string;
  /** In the order of KIND_GROUPS. */
  kinds: string[];
  sans: string;
};

let made: Palette | undefined;
theme.watch(() => (made = undefined));

export function palette(): Palette {
  if (made) return made;
  const style = getComputedStyle(document.documentElement);
  const read = (name: string) => style.getPropertyValue(`--${name}`).trim();
  made = {
    background: read("background"),
    surface: read("surface"),
    line: read("line"),
    control: read("control"),
    text: read("text"),
    muted: read("muted"),
    selected: read("selected"),
    running: read("running"),
    error: read("error"),
    interrupted: read("interrupted"),
    lost: read("lost"),
    kinds: KIND_GROUPS.map((kind) => read(`kind-${kind}`)),
    sans: read("sans"),
  };
  return made;
}
