// Where the time went, as a bar with a legend.

import { h } from "./dom.js";

const STAGES = ["retrieve", "summarize", "compose", "verify"];

const shown = (milliseconds) => (milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds).toLocaleString("en"));

/** Bar and legend of `timings`, milliseconds by stage; other times than those of the stages are told in the legend only. */
export function timingsBar(timings) {
  const stages = STAGES.filter((stage) => stage in timings);
  const others = Object.keys(timings).filter((name) => !STAGES.includes(name));
  const bar = h("div", { class: "bar", "aria-hidden": "true" }, stages.map((stage) => segment(stage, timings[stage])));
  const legend = h(
    "ul",
    { class: "legend", "aria-label": "Time by stage" },
    stages.map((stage) => h("li", {}, h("span", { class: `swatch ${stage}`, "aria-hidden": "true" }), `${stage} ${shown(timings[stage])} ms`)),
    others.map((name) => h("li", {}, `${name.replaceAll("_", " ")} ${shown(timings[name])} ms`)),
  );
  return [bar, legend];
}

function segment(stage, milliseconds) {
  const part = h("span", { class: stage });
  part.style.flexGrow = String(milliseconds);
  return part;
}
