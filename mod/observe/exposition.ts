/**
 * Metrics for Prometheus: the text format, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 * @module
 */
import type { Histogram } from "./instruments.ts";

/** Value of the Content-Type header. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** Names and values of labels. */
export type Labels = Readonly<Record<string, string>>;

/** The kind of a metric. */
export type MetricType = "counter" | "gauge" | "histogram";

const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL_NAME = /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/;

/**
 * Collects the answer to one scrape: families in the order in which they are first named, each with its
 * HELP, its TYPE and its samples. A family without samples is left out.
 */
export class Exposition {
  readonly #families = new Map<string, { readonly head: string; readonly lines: string[] }>();

  /**
   * A number that only grows; its name ends in `_total`.
   *
   * @throws {RangeError} for a name or a label that the format does not allow
   */
  counter(name: string, help: string, value: number, labels: Labels = {}): void {
    if (!name.endsWith("_total")) throw new RangeError(`a counter's name ends in _total: ${name}`);
    this.#sample(this.#family(name, "counter", help), name, labels, value);
  }

  /**
   * A number that goes up and down.
   *
   * @throws {RangeError} for a name or a label that the format does not allow
   */
  gauge(name: string, help: string, value: number, labels: Labels = {}): void {
    this.#sample(this.#family(name, "gauge", help), name, labels, value);
  }

  /**
   * A distribution: `_bucket` for each bound, `_sum` and `_count`.
   *
   * @throws {RangeError} for a name or a label that the format does not allow, `le` included
   */
  histogram(name: string, help: string, histogram: Histogram, labels: Labels = {}): void {
    if (Object.hasOwn(labels, "le")) throw new RangeError("le is a histogram's own label");
    const lines = this.#family(name, "histogram", help);
    histogram.cumulative().forEach((count, i) => {
      const le = formatValue(histogram.bounds[i] ?? Infinity);
      this.#sample(lines, `${name}_bucket`, { ...labels, le }, count);
    });
    this.#sample(lines, `${name}_sum`, labels, histogram.sum);
    this.#sample(lines, `${name}_count`, labels, histogram.count);
  }

  /** The text. */
  toString(): string {
    return this.#families.values()
      .map(({ head, lines }) => head + lines.join(""))
      .toArray().join("");
  }

  #family(name: string, type: MetricType, help: string): string[] {
    const head = `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n`;
    const known = this.#families.get(name);
    if (known !== undefined) {
      if (known.head !== head) throw new RangeError(`metric ${name} is two things`);
      return known.lines;
    }
    if (!METRIC_NAME.test(name)) throw new RangeError(`not a metric's name: ${name}`);
    const family = { head, lines: [] };
    this.#families.set(name, family);
    return family.lines;
  }

  #sample(lines: string[], name: string, labels: Labels, value: number): void {
    const pairs = Object.entries(labels).map(([label, text]) => {
      if (!LABEL_NAME.test(label)) throw new RangeError(`not a label's name: ${label}`);
      return `${label}="${escapeLabel(text)}"`;
    });
    const set = pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
    lines.push(`${name}${set} ${formatValue(value)}\n`);
  }
}

/** As Go's ParseFloat reads it: `NaN`, `+Inf` and `-Inf` besides numbers. */
function formatValue(value: number): string {
  if (value === Infinity) return "+Inf";
  return value === -Infinity ? "-Inf" : String(value);
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
