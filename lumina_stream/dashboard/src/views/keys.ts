// The keys of the list and of every page, for the help to show.

/** Keys with what they do, under a title. */
export type KeyGroup = {
  title: string;
  keys: readonly (readonly [names: readonly string[], does: string])[];
};

export const LIST_KEYS: readonly KeyGroup[] = [
  {
    title: "Everywhere",
    keys: [
      [["?"], "Show the keys"],
      [["Esc"], "Close what is open"],
    ],
  },
  {
    title: "Traces",
    keys: [
      [["/"], "Filter"],
      [["↑", "↓"], "The trace above or below"],
      [["PgUp", "PgDn"], "A screen up or down"],
      [["Home", "End"], "The first or last one"],
      [["Enter"], "Open the trace"],
      [["n"], "Show the new ones"],
    ],
  },
];
