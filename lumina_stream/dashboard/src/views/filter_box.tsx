// The filter: a box with the words of the API, completion below it, and what is wrong with it. It
// lives in the address, so that a filtered list can be sent to a colleague.

import { useEffect, useId, useMemo, useRef, useState } from "preact/hooks";

import { parse } from "../model/filter";
import { useAtom } from "../state/atom";
import { go, route } from "../state/route";
import { accept, complete } from "./complete";
import type { Offer } from "./complete";
import { seen } from "./seen";

/** A filter takes effect this long after the last key; Enter is at once. */
const PAUSE_MS = 300;

/** The filter of the list that was last shown, for the way back to it. */
let lastFilter = "";

/** The address of the list, with the filter it had. */
export function listHref(): string {
  return lastFilter ? `#/?q=${encodeURIComponent(lastFilter)}` : "#/";
}

export function FilterBox() {
  const at = useAtom(route);
  const isList = at.page === "list";
  if (at.page === "list") lastFilter = at.q;
  const [text, setText] = useState(lastFilter);
  const [caret, setCaret] = useState(0);
  const [isOpen, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const [isPaused, setPaused] = useState(true);
  const input = useRef<HTMLInputElement>(null);
  const timer = useRef(0);
  const id = useId();

  // Back, Forward or a link changed it; what the person types is written by themselves.
  const q = isList ? at.q : lastFilter;
  useEffect(() => {
    if (document.activeElement !== input.current || parse(text).errors.length === 0) setText(q);
  }, [q]);
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => {
    const focus = (event: KeyboardEvent) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping(event))
        return;
      if (route.get().page === "trace") return; // there it finds in the trace
      event.preventDefault();
      input.current?.select();
      input.current?.focus();
    };
    addEventListener("keydown", focus);
    return () => removeEventListener("keydown", focus);
  }, []);

  const found = useMemo(() => parse(text).errors, [text]);
  const errors = isPaused ? found : []; // a word that is being typed is not wrong yet
  const known = useAtom(seen);
  const completion = useMemo(() => complete(text, caret, known), [text, caret, known]);
  const offers = isOpen ? completion.offers : [];

  const apply = (value: string, stays: boolean) => {
    clearTimeout(timer.current);
    if (parse(value).errors.length || (stays && route.get().page !== "list")) return;
    go({ page: "list", q: value.trim() }, { replace: route.get().page === "list" });
  };
  const change = (value: string, at: number) => {
    setText(value);
    setCaret(at);
    setActive(-1);
    setPaused(false);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => {
      setPaused(true);
      apply(value, true);
    }, PAUSE_MS);
  };
  const take = (offer: Offer) => {
    const taken = accept(text, completion, offer);
    change(taken.text, taken.caret);
    setOpen(true);
    requestAnimationFrame(() => input.current?.setSelectionRange(taken.caret, taken.caret));
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const chosen = offers[active] as Offer | undefined;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!isOpen) return setOpen(true);
      const count = offers.length + 1;
      setActive(((active + 1 + (event.key === "ArrowDown" ? 1 : count - 1)) % count) - 1);
    } else if ((event.key === "Enter" || event.key === "Tab") && chosen) {
      event.preventDefault();
      take(chosen);
    } else if (event.key === "Enter") {
      setOpen(false);
      apply(text, false);
    } else if (event.key === "Escape") {
      event.stopPropagation();
      if (isOpen && offers.length) setOpen(false);
      else if (text) change("", 0);
      else input.current?.blur();
    }
  };

  return (
    <div class="filter" role="search" aria-label="All traces">
      <input
        ref={input}
        type="text"
        role="combobox"
        aria-label="Filter traces"
        aria-expanded={offers.length > 0}
        aria-controls={`${id}-offers`}
        aria-autocomplete="list"
        aria-activedescendant={active >= 0 ? `${id}-${active}` : undefined}
        aria-invalid={errors.length > 0}
        aria-describedby={errors.length ? `${id}-error` : undefined}
        placeholder="Filter: service:, state:running, duration:>2s, error, key=value"
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        value={text}
        onInput={(event) => {
          const { value, selectionStart } = event.currentTarget;
          setOpen(true);
          change(value, selectionStart ?? value.length);
        }}
        onSelect={(event) => setCaret(event.currentTarget.selectionStart ?? 0)}
        onClick={() => setOpen(true)}
        onBlur={() => setOpen(false)}
        onKeyDown={onKeyDown}
      />
      {text ? (
        <button
          type="button"
          class="filter-clear"
          aria-label="Clear the filter"
          onClick={() => {
            setText("");
            if (isList) apply("", false);
            input.current?.focus();
          }}
        >
          <svg
            viewBox="0 0 12 12"
            width="12"
            height="12"
            stroke="currentColor"
            stroke-width="1.5"
            aria-hidden="true"
          >
            <path d="M2.5 2.5l7 7M9.5 2.5l-7 7" />
          </svg>
        </button>
      ) : (
        isList && <kbd class="filter-key">/</kbd>
      )}
      <ul
        id={`${id}-offers`}
        class="offers"
        role="listbox"
        aria-label="Words"
        hidden={offers.length === 0}
      >
        {offers.map((offer, number) => (
          <li
            key={offer.text}
            id={`${id}-${number}`}
            role="option"
            aria-selected={number === active}
            class={number === active ? "active" : ""}
            // Before the box loses its focus and the list closes.
            onMouseDown={(event) => {
              event.preventDefault();
              take(offer);
            }}
          >
            <span class="mono cut">{offer.text}</span>
            <span class="secondary">{offer.hint}</span>
          </li>
        ))}
      </ul>
      {errors.length > 0 && offers.length === 0 && (
        <p id={`${id}-error`} class="filter-error" role="alert">
          {errors[0].message}
        </p>
      )}
    </div>
  );
}

/** Tell whether a key belongs to what has the focus. */
export function isTyping(event: Event): boolean {
  const target = event.target;
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}
