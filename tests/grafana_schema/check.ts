// What is compiled by tests/test_grafana_schema.py beside board.ts, which it writes: types only, nothing runs.
import type {
  CloudWatchLogsQuery,
  CloudWatchMetricsQuery,
} from "./node_modules/@grafana/schema/dist/esm/raw/composable/cloudwatch/dataquery/x/CloudWatchDataQuery_types.gen";
import type { Dashboard } from "./node_modules/@grafana/schema/dist/esm/raw/dashboard/x/dashboard_types.gen";

// The schema's enumerations as the values that JSON has for them.
type Plain<T> = T extends string
  ? `${T}`
  : T extends number
    ? number extends T
      ? number
      : `${T}` extends `${infer N extends number}`
        ? N
        : T
    : T extends boolean | null | undefined
      ? T
      : T extends Array<infer U>
        ? Plain<U>[]
        : { [K in keyof T]: Plain<T[K]> };

export type Board = Plain<Dashboard>;
export type Target = Plain<CloudWatchMetricsQuery> | Plain<CloudWatchLogsQuery>;
