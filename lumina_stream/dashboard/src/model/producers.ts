// What is known of each producer: alive, lost or ended. Order-free, as the tree is.

export type Fate = "alive" | "lost" | "ended";

export type Producer = {
  readonly id: string;
  state: Fate;
  /** ns since the tree's base, NaN unless it is lost. */
  lastSeen: number;
  service: string;
};
