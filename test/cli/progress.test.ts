import { Writable } from "node:stream";
import { expect, test } from "vitest";
import { createProgress, formatBytes } from "../../lib/cli/progress.ts";

function capture(isTTY: boolean) {
  let text = "";
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  return { stream: Object.assign(stream, { isTTY }), text: () => text };
}

test("in a pipe every step is one plain line, without control characters", () => {
  const { stream, text } = capture(false);
  const progress = createProgress(stream);
  progress.step("first");
  progress.update("half way");
  progress.step("second");
  progress.done("3 disks");
  expect(text()).toMatch(/^ {2}✓ first \(\d+\.\d s\)\n {2}✓ second: 3 disks \(\d+\.\d s\)\n$/);
});

test("on a terminal the present state replaces its line", () => {
  const { stream, text } = capture(true);
  const progress = createProgress(stream);
  progress.step("ship");
  progress.update("10 %");
  expect(text()).toContain("\r\u001b[2K  … ship: 10 %");
  expect(text()).not.toContain("\n");
});

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.00 KiB"],
  [1536, "1.50 KiB"],
  [268_435_456, "256 MiB"],
  [1_098_437_885_952, "1023 GiB"],
  [2 ** 46, "64.0 TiB"],
])("%i bytes are shown as %s", (bytes, shown) => {
  expect(formatBytes(bytes)).toBe(shown);
});
