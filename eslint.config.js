import eslint from "@eslint/js";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

/** What an orchestrator must not touch: a replay has to see the same values every time (Durable code constraints). */
const nondeterministic = {
  "no-restricted-globals": [
    "error",
    "setTimeout",
    "setInterval",
    "fetch",
    "process",
    "crypto",
    "performance",
  ],
  "no-restricted-properties": [
    "error",
    { object: "Date", property: "now", message: "Use context.df.currentUtcDateTime." },
    { object: "Math", property: "random", message: "Use context.df.newGuid(seed)." },
  ],
  "no-restricted-syntax": [
    "error",
    {
      selector: "NewExpression[callee.name='Date'][arguments.length=0]",
      message: "Use context.df.currentUtcDateTime.",
    },
    { selector: "FunctionDeclaration[async=true]", message: "Orchestrators are plain generators." },
    { selector: "AwaitExpression", message: "Orchestrators are plain generators: yield instead." },
  ],
};

export default defineConfig(
  globalIgnores(["dist/", "coverage/", "docs/"]),
  eslint.configs.recommended,
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/restrict-template-expressions": [
        "error",
        { allowNumber: true, allowBoolean: true },
      ],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
    },
  },
  { files: ["functions/orchestrators/**/*.ts", "lib/orchestration/**/*.ts"], rules: nondeterministic },
  { files: ["test/**/*.ts", "bench/**/*.ts"], rules: { "@typescript-eslint/no-non-null-assertion": "off" } },
);
