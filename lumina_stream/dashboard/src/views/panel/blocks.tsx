// A long list of lines of any height: drawn in blocks, those near what is in view. The others keep
// their room, as measured when they were last drawn.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";

const SIZE = 40;
/** Drawn so far above and below what is in view. */
const MARGIN = "400px";

/** `estimate`: px of a line that was not drawn yet. `scroller`: selector of the box that scrolls. */
export function Blocks<T>({ items, estimate, scroller, render }: {
  items: readonly T[];
  estimate: number;
  scroller: string;
  render: (item: T, place: number) => ComponentChildren;
}) {
  if (items.length <= SIZE) return <>{items.map(render)}</>;
  const blocks = [];
  for (let at = 0; at < items.length; at += SIZE) {
    blocks.push(
      <Block key={at} count={Math.min(SIZE, items.length - at)} estimate={estimate} scroller={scroller} isFirst={at === 0}>
        {() => items.slice(at, at + SIZE).map((item, place) => render(item, at + place))}
      </Block>,
    );
  }
  return <>{blocks}</>;
}

function Block({ count, estimate, scroller, isFirst, children }: {
  count: number;
  estimate: number;
  scroller: string;
  isFirst: boolean;
  children: () => ComponentChildren;
}) {
  const [isNear, setNear] = useState(isFirst);
  const box = useRef<HTMLDivElement>(null);
  const height = useRef(count * estimate);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const root = element.closest(scroller);
    const observer = new IntersectionObserver(
      ([entry]) => {
        if (!entry.isIntersecting && element.childElementCount) height.current = element.offsetHeight;
        setNear(entry.isIntersecting);
      },
      { root, rootMargin: `${MARGIN} 0px` },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, [scroller]);
  return (
    <div ref={box} style={{ minHeight: isNear ? "" : `${height.current}px` }}>
      {isNear && children()}
    </div>
  );
}
