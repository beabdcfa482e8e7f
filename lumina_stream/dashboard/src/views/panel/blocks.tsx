// A long list of lines of any height: drawn in blocks, those near what is in view. The others keep
// their room, as measured when they were last drawn.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";

const SIZE = 40;
/** Drawn so far above and below what is in view. */
const MARGIN = "400px";

/** `estimate`: px of a line that was not drawn yet. `label`: each block is a list of that name,
 * with the class `list`; without it the lines stand for themselves. */
export function Blocks<T>({
  items,
  estimate,
  label,
  list = "",
  render,
}: {
  items: readonly T[];
  estimate: number;
  label?: string;
  list?: string;
  render: (item: T, place: number) => ComponentChildren;
}) {
  const blocks = [];
  for (let at = 0; at < items.length; at += SIZE) {
    const count = Math.min(SIZE, items.length - at);
    const name = items.length > SIZE ? `${label} ${at + 1} to ${at + count}` : label;
    blocks.push(
      <Block key={at} height={count * estimate} isFirst={at === 0}>
        {() => {
          const lines = items.slice(at, at + SIZE).map((item, place) => render(item, at + place));
          return label ? (
            <ul class={list} aria-label={name}>
              {lines}
            </ul>
          ) : (
            lines
          );
        }}
      </Block>,
    );
  }
  return <>{blocks}</>;
}

function Block({
  height: estimated,
  isFirst,
  children,
}: {
  height: number;
  isFirst: boolean;
  children: () => ComponentChildren;
}) {
  const [isNear, setNear] = useState(isFirst);
  const box = useRef<HTMLDivElement>(null);
  const height = useRef(estimated);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new IntersectionObserver(
      ([entry]) => {
        if (!entry.isIntersecting && element.childElementCount)
          height.current = element.offsetHeight;
        setNear(entry.isIntersecting);
      },
      // Of the box that scrolls: a margin around the window would be cut off by it.
      { root: element.closest(".panel-body"), rootMargin: `${MARGIN} 0px` },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return (
    <div ref={box} style={{ minHeight: isNear ? "" : `${height.current}px` }}>
      {isNear && children()}
    </div>
  );
}
