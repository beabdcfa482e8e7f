// A conversation as messages, the answer streaming in. The end stays in view while it grows, until
// the reader scrolls up.

import { useLayoutEffect, useRef, useState } from "preact/hooks";

import { count } from "../../model/format";
import { Copy } from "../copy";
import { Blocks } from "./blocks";
import { Folded, Pieces } from "./fold";
import type { Conversation as Said, Message, Part, Tool } from "./messages";
import { asItIs, markText, shown as read } from "./values";

/** So near to the end counts as being there. */
const NEAR_PX = 32;

export function Conversation({ said }: { said: Said }) {
  const box = useRef<HTMLDivElement>(null);
  const isLive = said.messages.some((message) => message.live);
  const { isFollowing, follow } = useFollow(box, isLive);
  return (
    <div ref={box} class="conversation">
      {said.tools.length > 0 && <Tools tools={said.tools} />}
      <Blocks
        items={said.messages}
        estimate={96}
        render={(message, place) => <MessageView key={place} message={message} />}
      />
      {isLive && !isFollowing && (
        <button type="button" class="pill follow" onClick={follow}>
          Follow the answer
        </button>
      )}
    </div>
  );
}

/** Keep the end in view while `isLive` and the reader is there. */
function useFollow(box: { current: HTMLElement | null }, isLive: boolean) {
  const [isFollowing, setFollowing] = useState(true);
  const follows = useRef(true);
  useLayoutEffect(() => {
    const scroller = box.current?.closest<HTMLElement>(".panel-body");
    if (!scroller || !isLive) return;
    let before = scroller.scrollTop;
    const onScroll = () => {
      const top = scroller.scrollTop;
      // Only a move up is the reader's own: pieces find their height late, the end may run ahead.
      if (scroller.scrollHeight - top - scroller.clientHeight < NEAR_PX) follows.current = true;
      else if (top < before) follows.current = false;
      before = top;
      setFollowing(follows.current);
    };
    scroller.addEventListener("scroll", onScroll, { passive: true });
    return () => scroller.removeEventListener("scroll", onScroll);
  }, [isLive]);
  const toEnd = () => {
    const scroller = box.current?.closest(".panel-body");
    if (scroller) scroller.scrollTop = scroller.scrollHeight;
  };
  useLayoutEffect(() => {
    if (isLive && follows.current) toEnd();
  });
  const follow = () => {
    follows.current = true;
    setFollowing(true);
    toEnd();
  };
  return { isFollowing, follow };
}

/** Roles that are drawn in a way of their own. */
const ROLES = ["system", "assistant", "output"];

function MessageView({ message }: { message: Message }) {
  return (
    <article class={`message role-${ROLES.includes(message.role) ? message.role : "other"}`}>
      <header class="message-head secondary">
        <h3 dir="auto">
          {message.role}
          {message.name && <span class="muted"> {message.name}</span>}
        </h3>
        {message.finish && message.finish !== "stop" && (
          <span dir="auto">finished: {message.finish}</span>
        )}
        {!message.live && (
          <Copy text={() => plainText(message)} label={`the message of ${message.role}`} />
        )}
      </header>
      {message.parts.map((part, place) => (
        <div key={place}>
          <PartView
            part={part}
            isLive={message.live === true && place === message.parts.length - 1}
            isAnswer={message.role === "assistant" || message.role === "output"}
          />
          {part.mark && <span class="mark">{markText(part.mark)}</span>}
        </div>
      ))}
    </article>
  );
}

function PartView({ part, isLive, isAnswer }: { part: Part; isLive: boolean; isAnswer: boolean }) {
  switch (part.type) {
    case "text":
    case "refusal":
      return isLive ? (
        <Growing text={part.text} />
      ) : (
        <Folded class={part.type} text={part.text} opened={isAnswer} />
      );
    case "reasoning":
      return isLive ? (
        <Growing class="reasoning" text={part.text} />
      ) : (
        <Reasoning text={part.text} />
      );
    case "call":
      return (
        <div class="call">
          <p class="call-name mono" dir="auto">
            {part.name || "tool call"}
            {part.id && <span class="muted"> {part.id}</span>}
          </p>
          <Data value={part.arguments} isLive={isLive} />
        </div>
      );
    case "result":
      return (
        <div class="call">
          {part.id && <p class="call-name mono muted">{part.id}</p>}
          <Data value={part.response} />
        </div>
      );
    case "media":
      return (
        <p class="media" dir="auto">
          {part.modality}
          {part.what && <span class="muted mono"> {part.what}</span>}
        </p>
      );
    case "other":
      return (
        <div class="call">
          {part.name && <p class="call-name mono">{part.name}</p>}
          <Data value={part.content} />
        </div>
      );
  }
}

/** Text that still grows: whole, with a mark where more comes. */
function Growing({ text, class: name = "" }: { text: string; class?: string }) {
  return (
    <div class={`long growing ${name}`} dir="auto" aria-live="off">
      <Pieces text={text} />
      <span class="caret" />
    </div>
  );
}

function Reasoning({ text }: { text: string }) {
  return (
    <details class="reasoning-part">
      <summary class="secondary">Reasoning, {count(text.length)} characters</summary>
      <Folded class="reasoning" text={text} />
    </details>
  );
}

function Data({ value, isLive = false }: { value: unknown; isLive?: boolean }) {
  if (value === undefined || value === null || value === "") return null;
  if (typeof value === "string" && isLive) return <Growing class="mono data" text={value} />;
  const { type, text } = read(value);
  return <Folded class={type === "text" ? "data" : "data mono"} text={text} />;
}

function Tools({ tools }: { tools: readonly Tool[] }) {
  return (
    <details class="tools">
      <summary class="secondary">
        {count(tools.length)} {tools.length === 1 ? "tool" : "tools"} offered
      </summary>
      <ul>
        {tools.map((tool, place) => (
          <li key={place}>
            <p class="call-name mono" dir="auto">
              {tool.name || "(no name)"}
            </p>
            {tool.description && <Folded class="muted" text={tool.description} />}
            <Data value={tool.parameters} />
          </li>
        ))}
      </ul>
    </details>
  );
}

function plainText({ parts }: Message): string {
  return parts
    .map((part) => {
      if ("text" in part) return part.text;
      if (part.type === "call") return `${part.name}(${asItIs(part.arguments)})`;
      if (part.type === "result") return asItIs(part.response);
      return part.type === "media" ? `${part.modality} ${part.what}` : asItIs(part.content);
    })
    .join("\n\n");
}
