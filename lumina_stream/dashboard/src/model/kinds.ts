// The five colours of kinds: which kind is drawn as which.

export const KIND_GROUPS = ["llm", "retrieval", "tool", "agent", "other"] as const;
export type KindGroup = (typeof KIND_GROUPS)[number];
export const OTHER = KIND_GROUPS.indexOf("other");

const GROUP_OF: Readonly<Record<string, KindGroup>> = {
  llm: "llm",
  retrieval: "retrieval",
  embedding: "retrieval",
  rerank: "retrieval",
  tool: "tool",
  agent: "agent",
  task: "agent",
};

/** The index in KIND_GROUPS of a kind; any other kind, and none, is "other". */
export function kindGroup(kind: string): number {
  return Object.hasOwn(GROUP_OF, kind) ? KIND_GROUPS.indexOf(GROUP_OF[kind]) : OTHER;
}

/** The groups of all of a tree's strings, for loops over its spans; made anew as strings come. */
export class KindGroups {
  private groups = new Uint8Array(0);
  private known = 0;
  private strings: readonly string[] = [];

  /** Look at strings that are new. */
  learn(strings: readonly string[]): void {
    if (strings !== this.strings) this.known = 0; // another tree's
    this.strings = strings;
    if (strings.length > this.groups.length) {
      const grown = new Uint8Array(strings.length * 2);
      grown.set(this.groups);
      this.groups = grown;
    }
    for (; this.known < strings.length; this.known++) {
      this.groups[this.known] = kindGroup(strings[this.known]);
    }
  }

  /** The group of a kind's index in `strings`; below 0 there is no kind. */
  of(kind: number): number {
    return kind < 0 ? OTHER : this.groups[kind];
  }
}
