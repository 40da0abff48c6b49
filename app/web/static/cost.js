// A rough cost and what is warned of, in words.

const figure = new Intl.NumberFormat("en");

function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const range = (least, most) => (least === most ? least : `${least} to ${most}`);

/** Lines of name and value, from what `POST /benchmarks?validate_only=true` answers. */
export function costLines({ cost, device, workers_online: workers, parameter_count: parameters }) {
  const known = cost.least_seconds !== null;
  return [
    ["Time", known ? `about ${range(duration(cost.least_seconds), duration(cost.most_seconds))}` : "not known"],
    ["By", cost.basis],
    ["Trials", range(figure.format(cost.least_trials), figure.format(cost.most_trials))],
    ["Parameters", parameters === null ? "counted when it runs" : figure.format(parameters)],
    ["Runs on", `${device.toUpperCase()}, ${workers} ${workers === 1 ? "worker" : "workers"} online for it`],
  ];
}

/** What should be known before it runs, from the same answer. */
export const warningLines = ({ warnings }) => warnings.map((warning) => `Warning: ${warning}`);
