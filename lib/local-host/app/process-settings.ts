/** Puts the settings where the app looks for them. @returns puts everything back */
export function applySettings(settings: Readonly<Record<string, string>>): () => void {
  const changed = Object.entries(settings).filter(([name, value]) => process.env[name] !== value);
  const before = changed.map(([name]) => [name, process.env[name]] as const);
  for (const [name, value] of changed) process.env[name] = value;
  return () => {
    for (const [name, value] of before) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  };
}
