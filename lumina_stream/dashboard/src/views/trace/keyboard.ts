// What the keys of the trace page do: those that `keys.ts` lists.

import { useEffect } from "preact/hooks";

import { VIEWS } from "../../state/route";
import type { View } from "../../state/route";
import { isTyping } from "../filter_box";
import { toggleReplay } from "./head";
import { ROW } from "./sight";
import type { Sight } from "./sight";
import { FIND_ID } from "./tools";
import {
  fitAll,
  fitSpan,
  goToMatch,
  moveIn,
  moveOut,
  moveRow,
  rangeOf,
  select,
  showView,
} from "./walk";
import { moveBox } from "./walk_boxes";

const ZOOM = 0.7;
const PAN = 0.2;
const ALL_ROWS = 1e9;

export function useKeyboard(sight: Sight, view: View): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (
        event.defaultPrevented ||
        event.ctrlKey ||
        event.metaKey ||
        event.altKey ||
        isTyping(event)
      )
        return;
      if (document.querySelector("dialog[open]")) return;
      if (press(sight, view, event)) event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [sight, view]);
}

/** Do what a key says; tell whether it said anything. */
function press(sight: Sight, view: View, event: KeyboardEvent): boolean {
  const { key } = event;
  if (isElsewhere(event)) return key === "Escape" ? escape(sight) : false;
  const walk = walkOf(sight, view, key);
  if (walk) {
    walk();
    return true;
  }
  const does = commandOf(sight, key);
  does?.();
  return does !== undefined;
}

/** Whether the key belongs to what has the focus: a button, a list, the panel. */
function isElsewhere({ key, target }: KeyboardEvent): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.closest(".panel-box")) return !/^[a-z0-9/[\]]$/i.test(key);
  const isButton = target.closest("button, a, [role=slider], [role=separator], summary") !== null;
  return isButton && /^(Enter| |Arrow.*)$/.test(key);
}

function walkOf(sight: Sight, view: View, key: string): (() => void) | undefined {
  const page = Math.max(1, Math.floor(sight.scroll.seen / ROW) - 3);
  if (view === "waterfall") {
    switch (key) {
      case "ArrowDown":
        return () => moveRow(sight, 1);
      case "ArrowUp":
        return () => moveRow(sight, -1);
      case "ArrowRight":
        return () => moveIn(sight);
      case "ArrowLeft":
        return () => moveOut(sight);
      case "PageDown":
        return () => moveRow(sight, page);
      case "PageUp":
        return () => moveRow(sight, -page);
      case "Home":
        return () => moveRow(sight, -ALL_ROWS);
      case "End":
        return () => moveRow(sight, ALL_ROWS);
    }
  }
  if ((view === "flame" || view === "merged") && key.startsWith("Arrow"))
    return () => moveBox(sight, key);
  return undefined;
}

function commandOf(sight: Sight, key: string): (() => void) | undefined {
  const axis = sight.moved;
  const ms = performance.now();
  const moved = (move: () => void) => () => {
    move();
    sight.letGo();
    sight.touch();
  };
  const { from, to } = axis.view(ms);
  switch (key) {
    case "w":
      return moved(() => axis.zoom(middleOf(sight, from, to), ZOOM, ms, sight.eased));
    case "s":
      return moved(() => axis.zoom(middleOf(sight, from, to), 1 / ZOOM, ms, sight.eased));
    case "a":
      return moved(() => axis.pan(-PAN, ms, sight.eased));
    case "d":
      return moved(() => axis.pan(PAN, ms, sight.eased));
    case "f":
      return () => fitSpan(sight, sight.span);
    case "0":
      return () => fitAll(sight);
    case "m":
      return () => sight.mark.set(sight.mark.get() ? null : rangeOf(sight, sight.span));
    case "l":
      return () => sight.setFollow(!sight.follow.get());
    case "c":
      return () => sight.isPathOn.update((on) => !on);
    case "r":
      return () => toggleReplay(sight);
    case " ":
      return sight.film.isOn ? () => playOrPause(sight) : undefined;
    case "e":
      return () => goToMatch(sight, sight.errors(), 1);
    case "E":
      return () => goToMatch(sight, sight.errors(), -1);
    case "n":
    case "N": {
      const matches = sight.matches.get();
      return () => matches && goToMatch(sight, matches, key === "n" ? 1 : -1);
    }
    case "/":
      return () => {
        const input = document.getElementById(FIND_ID);
        if (input instanceof HTMLInputElement) input.select();
      };
    case "[":
    case "]":
      return () => foldLevel(sight, key === "[" ? -1 : 1);
    case "Enter":
      return () =>
        document.querySelector<HTMLElement>(".panel-box button, .panel-box [tabindex]")?.focus();
    case "Escape":
      return () => void escape(sight);
  }
  const view = /^[1-5]$/.test(key) ? VIEWS[Number(key) - 1] : undefined;
  return view && (() => showView(view));
}

/** Where keys zoom: at the pointer, if it is over the bars, else in the middle. */
function middleOf(sight: Sight, from: number, to: number): number {
  const at = sight.pointed.get()?.at ?? NaN;
  return at >= from && at <= to ? at : (from + to) / 2;
}

/** Close the last thing that was opened. */
function escape(sight: Sight): boolean {
  if (sight.query.get() !== "") sight.query.set("");
  else if (sight.range.get()) sight.range.set(null);
  else if (sight.mark.get()) sight.mark.set(null);
  else if (sight.selected.get() !== null) select(sight, null);
  else return false;
  return true;
}

function playOrPause({ film }: Sight): void {
  if (film.state.get() === "playing") film.pause();
  else film.play();
}

/** Collapse the deepest level that is to be seen, or open one more. */
function foldLevel(sight: Sight, by: number): void {
  const { rows, folding } = sight;
  let deepest = 0;
  for (let row = 0; row < rows.count; row++)
    if (rows.depth[row] > deepest) deepest = rows.depth[row];
  const limit = by < 0 ? Math.max(0, Math.min(folding.limit, deepest) - 1) : folding.limit + 1;
  folding.setLimit(by > 0 && limit > deepest + 1 ? Infinity : limit);
  sight.touch();
}
