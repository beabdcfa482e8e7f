// Scrolling over more rows than a browser's box can be high. Below MOST_PX the browser scrolls; above
// it the box is only so high, and its scroll bar stands for shares of the whole.

/** Browsers draw boxes wrong, or not at all, from some 16 million px on. */
const MOST_PX = 8_000_000;

export class Scroll {
  /** How far down we are, px of the content. */
  top = 0;
  /** The height of the content and of what is seen of it, px. */
  content = 0;
  seen = 0;
  private box: HTMLElement | null = null;
  private space: HTMLElement | null = null;
  private expected = 0;

  /** `space` makes the box as high as it has to be. */
  attach(box: HTMLElement, space: HTMLElement): void {
    this.box = box;
    this.space = space;
    this.apply();
  }

  detach(): void {
    this.box = this.space = null;
  }

  get most(): number {
    return Math.max(0, this.content - this.seen);
  }

  /** The browser does not scroll by itself what is too high: the wheel is ours then. */
  get isScaled(): boolean {
    return this.content > MOST_PX;
  }

  /** Say how high the content and the box are; tell whether that is news. */
  resize(content: number, seen: number): boolean {
    if (content === this.content && seen === this.seen) return false;
    this.content = content;
    this.seen = seen;
    this.top = Math.min(this.top, this.most);
    this.apply();
    return true;
  }

  to(top: number): void {
    this.top = Math.min(Math.max(0, top), this.most);
    this.place();
  }

  /** Bring [from, to) into view, with `room` px around it, by as little as is needed. */
  reveal(from: number, to: number, room: number): void {
    if (from - room < this.top) this.to(from - room);
    else if (to + room > this.top + this.seen) this.to(to + room - this.seen);
  }

  /** Follow the box, which was scrolled; tell whether a person did that. */
  follow(): boolean {
    if (!this.box || Math.abs(this.box.scrollTop - this.expected) < 1) return false;
    this.expected = this.box.scrollTop;
    this.top = Math.min(this.expected * this.scale(), this.most);
    return true;
  }

  private scale(): number {
    if (!this.isScaled) return 1;
    return this.most / (MOST_PX - this.seen);
  }

  private apply(): void {
    if (!this.space) return;
    this.space.style.height = `${Math.max(0, Math.min(this.content, MOST_PX) - this.seen)}px`;
    this.place();
  }

  private place(): void {
    if (!this.box) return;
    this.box.scrollTop = this.top / this.scale();
    this.expected = this.box.scrollTop; // as rounded by the browser
  }
}
