// The keys of the trace page, for the help to show; `keyboard.ts` does what they say.

import type { KeyGroup } from "../keys";

export const TRACE_KEYS: readonly KeyGroup[] = [
  {
    title: "Spans",
    keys: [
      [["↑", "↓"], "The span above or below"],
      [["→"], "Open what is below a span, go into it"],
      [["←"], "Close it, go to its parent"],
      [["PgUp", "PgDn"], "A screen up or down"],
      [["Home", "End"], "The first or last span"],
      [["Enter"], "Into the span's panel"],
      [["["], "Fold one level"],
      [["]"], "Unfold one level"],
      [["e", "E"], "The next or previous error"],
      [["/"], "Find"],
      [["n", "N"], "The next or previous match"],
    ],
  },
  {
    title: "Time",
    keys: [
      [["w", "s"], "Zoom in or out"],
      [["a", "d"], "Move left or right"],
      [["f"], "Fit the selected span"],
      [["0"], "Show all"],
      [["m"], "Mark the span's time, or unmark it"],
      [["l"], "Follow now, or let go"],
      [["c"], "Critical path, or what is waited for"],
      [["Ctrl wheel"], "Zoom at the pointer"],
      [["Shift wheel"], "Move left or right"],
      [["Shift drag"], "Count a stretch of time"],
    ],
  },
  {
    title: "Views",
    keys: [
      [["1"], "Waterfall"],
      [["2"], "Flame graph"],
      [["3"], "By name"],
      [["4"], "Statistics"],
      [["5"], "Log"],
      [["r"], "Replay"],
      [["Space"], "Play or pause the replay"],
    ],
  },
];
