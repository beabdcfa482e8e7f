// The scrubber: back to the trace as it was after any of its events, and play.

import { useEffect, useRef } from "preact/hooks";

import { count, duration } from "../../model/format";
import { useAtom } from "../../state/atom";
import { go, route } from "../../state/route";
import { SPEEDS } from "./film";
import type { Film } from "./film";
import type { Sight } from "./sight";

export function Replay({ sight }: { sight: Sight }) {
  const { film } = sight;
  const state = useAtom(film.state);
  const loaded = useAtom(film.loaded);
  const failed = useAtom(film.failed);
  if (failed) {
    return (
      <div class="replay" role="alert">
        <span>The events could not be loaded: {failed}</span>
        <button type="button" class="bordered" onClick={() => film.failed.set("")}>
          Close
        </button>
      </div>
    );
  }
  if (state === "off") return null;
  if (state === "loading") {
    return (
      <div class="replay" role="status">
        <span>Loading events{loaded > 0 && `: ${count(loaded)}`}</span>
        <button type="button" class="bordered" onClick={() => backToNow(film)}>
          Cancel
        </button>
      </div>
    );
  }
  return <Scrubber sight={sight} />;
}

function Scrubber({ sight }: { sight: Sight }) {
  const { film } = sight;
  const isPlaying = useAtom(film.state) === "playing";
  const position = useAtom(film.position);
  const speed = useAtom(film.speed);
  const slider = useRef<HTMLInputElement>(null);
  const events = film.events!;
  const time = duration(Math.max(0, film.time - (position > 0 ? events.timeAt(0) : 0)));

  // The moment is in the address, for a colleague; while it plays it is not written sixty times a second.
  useEffect(() => {
    if (isPlaying) return;
    const timer = setTimeout(() => write(film, String(position)), 150);
    return () => clearTimeout(timer);
  }, [position, isPlaying]);

  return (
    <div class="replay" role="group" aria-label="Replay">
      <button
        type="button"
        class="icon-button"
        aria-label={isPlaying ? "Pause" : "Play"}
        title={isPlaying ? "Pause (space)" : "Play (space)"}
        onClick={() => (isPlaying ? film.pause() : film.play())}
      >
        <svg viewBox="0 0 16 16" width="16" height="16" fill="currentColor" aria-hidden="true">
          {isPlaying ? <path d="M4 3h3v10H4zM9 3h3v10H9z" /> : <path d="M4.5 2.5v11l9-5.5z" />}
        </svg>
      </button>
      <input
        ref={slider}
        class="replay-slider"
        type="range"
        min={0}
        max={events.count}
        step={1}
        value={position}
        aria-label="Moment"
        aria-valuetext={`${time}, event ${count(position)} of ${count(events.count)}`}
        onInput={(event) => {
          film.pause();
          film.seek(Number(event.currentTarget.value));
        }}
      />
      <span class="replay-time">{time}</span>
      <span class="replay-count muted">
        {count(position)} of {count(events.count)}
        {events.isCut && "+"} events
      </span>
      <label class="replay-speed">
        <span class="visually-hidden">Speed</span>
        <select
          value={speed}
          onChange={(event) => film.speed.set(Number(event.currentTarget.value))}
        >
          {SPEEDS.map((each) => (
            <option key={each} value={each}>
              {each}×
            </option>
          ))}
        </select>
      </label>
      <button type="button" class="bordered" onClick={() => backToNow(film)}>
        Live
      </button>
    </div>
  );
}

export function backToNow(film: Film): void {
  film.stop();
  write(film, null);
}

function write(film: Film, moment: string | null): void {
  film.written = moment;
  const at = route.get();
  if (at.page === "trace" && at.at !== moment) go({ ...at, at: moment }, { replace: true });
}
