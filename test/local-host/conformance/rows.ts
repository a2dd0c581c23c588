import { durableRows } from "./durable-rows.ts";
import { httpRows } from "./http-rows.ts";
import { managementRows } from "./management-rows.ts";
import type { Row } from "./row.ts";

export const rows: readonly Row[] = [...httpRows, ...durableRows, ...managementRows];
