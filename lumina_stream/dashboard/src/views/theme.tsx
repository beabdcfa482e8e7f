// The theme's switch: system, light, dark, one after the other.

import { useAtom } from "../state/atom";
import { themeChoice } from "../state/settings";
import type { ThemeChoice } from "../state/settings";

const NEXT: Record<ThemeChoice, ThemeChoice> = { system: "light", light: "dark", dark: "system" };
const SAID: Record<ThemeChoice, string> = { system: "as the system", light: "light", dark: "dark" };

export function Theme() {
  const choice = useAtom(themeChoice);
  const label = `Theme: ${SAID[choice]}`;
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={label}
      title={label}
      onClick={() => themeChoice.set(NEXT[choice])}
    >
      <svg
        viewBox="0 0 16 16"
        width="16"
        height="16"
        fill="none"
        stroke="currentColor"
        aria-hidden="true"
      >
        <circle cx="8" cy="8" r="5.5" stroke-width="1.5" />
        {choice === "system" && <path d="M8 2.5a5.5 5.5 0 0 1 0 11z" fill="currentColor" />}
        {choice === "dark" && <circle cx="8" cy="8" r="5.5" fill="currentColor" />}
      </svg>
    </button>
  );
}
