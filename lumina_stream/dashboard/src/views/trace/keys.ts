// The keys of the trace page, for the help to show.

import type { KeyGroup } from "../keys";

export const TRACE_KEYS: readonly KeyGroup[] = [];
