/**
 * Milliseconds of a .NET TimeSpan text `[d.]hh:mm:ss[.fffffff]`, or undefined when the text is none.
 * `-1` and `00:00:00`-like values are the caller's to judge.
 */
export function parseTimeSpan(text: string): number | undefined {
  const match = /^(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2})(\.\d{1,7})?)?$/.exec(text);
  if (match === null) return undefined;
  const [, days = "0", hours = "0", minutes = "0", seconds = "0", fraction = "0"] = match;
  const whole = ((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds);
  return whole * 1000 + Math.round(Number(fraction) * 1000);
}
