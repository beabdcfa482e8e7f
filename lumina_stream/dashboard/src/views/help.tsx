// What the keys do.

import { useEffect, useRef, useState } from "preact/hooks";

import { isTyping } from "./filter_box";
import { LIST_KEYS } from "./keys";
import { TRACE_KEYS } from "./trace/keys";

export function Help() {
  const [isOpen, setOpen] = useState(false);
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const toggle = (event: KeyboardEvent) => {
      if (event.key !== "?" || event.ctrlKey || event.metaKey || event.altKey || isTyping(event))
        return;
      event.preventDefault();
      setOpen((open) => !open);
    };
    addEventListener("keydown", toggle);
    return () => removeEventListener("keydown", toggle);
  }, []);
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isOpen]);
  return (
    <>
      <button
        type="button"
        class="icon-button"
        aria-label="Keys"
        aria-haspopup="dialog"
        title="Keys (?)"
        onClick={() => setOpen(true)}
      >
        ?
      </button>
      <dialog
        ref={dialog}
        class="help"
        aria-labelledby="help-title"
        onClose={() => setOpen(false)}
        onClick={(event) => {
          // Beside the box, on what is behind it.
          if (event.target === dialog.current) setOpen(false);
        }}
      >
        {isOpen && (
          <div class="help-box">
            <div class="help-head">
              <h2 id="help-title">Keys</h2>
              <button
                type="button"
                class="icon-button"
                aria-label="Close"
                onClick={() => setOpen(false)}
              >
                <svg
                  viewBox="0 0 12 12"
                  width="12"
                  height="12"
                  stroke="currentColor"
                  stroke-width="1.5"
                >
                  <path d="M2.5 2.5l7 7M9.5 2.5l-7 7" />
                </svg>
              </button>
            </div>
            <div class="help-groups">
              {[...LIST_KEYS, ...TRACE_KEYS].map(({ title, keys }) => (
                <section key={title}>
                  <h3>{title}</h3>
                  <dl>
                    {keys.map(([names, does]) => (
                      <div key={does}>
                        <dt>
                          {names.map((name) => (
                            <kbd key={name}>{name}</kbd>
                          ))}
                        </dt>
                        <dd>{does}</dd>
                      </div>
                    ))}
                  </dl>
                </section>
              ))}
            </div>
          </div>
        )}
      </dialog>
    </>
  );
}
