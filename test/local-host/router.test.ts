import { describe, expect, test } from "vitest";
import { matchRoute, parseRoute } from "../../lib/local-host/http/router.ts";

const routes = (...templates: string[]) =>
  templates.map((template) => parseRoute(template, ["GET"], template));

describe("route templates", () => {
  test.each([
    ["a/{id:int}", "a/12", { id: "12" }],
    ["a/{id:int}", "a/x", undefined],
    ["a/{id:int:min(5):max(9)}", "a/7", { id: "7" }],
    ["a/{id:int:min(5):max(9)}", "a/4", undefined],
    ["a/{id:range(1,3)}", "a/3", { id: "3" }],
    ["a/{id:guid}", "a/0b0b2c1e-2f2a-4c3d-8e9f-000000000001", { id: "0b0b2c1e-2f2a-4c3d-8e9f-000000000001" }],
    ["a/{id:guid}", "a/12", undefined],
    ["a/{flag:bool}", "a/TRUE", { flag: "TRUE" }],
    ["a/{name:alpha:length(2,4)}", "a/abc", { name: "abc" }],
    ["a/{name:alpha:length(2,4)}", "a/abcde", undefined],
    ["a/{name:minlength(2)}", "a/b", undefined],
    ["a/{when:datetime}", "a/2026-01-01", { when: "2026-01-01" }],
    ["a/{code:regex(^[a-z]{{2}}$)}", "a/xy", { code: "xy" }],
    ["a/{code:regex(^[a-z]{{2}}$)}", "a/xyz", undefined],
    ["a/{x}/{y?}", "a/1", { x: "1" }],
    ["a/{x}/{y?}", "a/1/2", { x: "1", y: "2" }],
    ["a/{x}/{y?}", "a/1/2/3", undefined],
    ["a/{*rest}", "a", { rest: "" }],
    ["a/{*rest}", "a/b/c", { rest: "b/c" }],
    ["file-{name}.{ext}", "file-a.txt", { name: "a", ext: "txt" }],
    ["A/b", "a/B", {}],
    ["a/{x}", "a/%C3%A4%2Fb", { x: "ä/b" }],
    ["a/{x}", "a/%zz", { x: "%zz" }],
  ])("%s for /%s", (template, path, expected) => {
    expect(matchRoute(routes(template), "GET", path)?.parameters).toEqual(expected);
  });

  test("the most specific route wins, whatever the order", () => {
    const order = ["{*all}", "{x}", "{x:int}", "v{x}", "7"];
    for (const list of [order, order.toReversed()]) {
      const found = (path: string): string | undefined =>
        matchRoute(routes(...list), "GET", path)?.route.target;
      expect([found("7"), found("v7"), found("8"), found("x"), found("x/y")]).toEqual([
        "7",
        "v{x}",
        "{x:int}",
        "{x}",
        "{*all}",
      ]);
    }
  });

  test.each(["{*rest}/a", "{a:unknown}", "{a b}"])("%s is refused", (template) => {
    expect(() => routes(template)).toThrow(/route/);
  });
});
