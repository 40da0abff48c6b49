// Text of the cost estimate and of the warnings.

const figure = new Intl.NumberFormat("en");

function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const range = (least, most) => (least === most ? least : `${least} to ${most}`);

/** Returns names and values of the cost, from the response of `POST /benchmarks?validate_only=true`. */
export function costLines({ cost, device, workers_online: workers, parameter_count: parameters }) {
  const known = cost.least_seconds !== null;
  return [
    ["Duration", known ? `about ${range(duration(cost.least_seconds), duration(cost.most_seconds))}` : "unknown"],
    ["Based on", cost.basis],
    ["Trials", range(figure.format(cost.least_trials), figure.format(cost.most_trials))],
    ["Parameters", parameters === null ? "counted at the start of the run" : figure.format(parameters)],
    ["Runs on", `${device.toUpperCase()}, ${workers} ${workers === 1 ? "worker" : "workers"} online that can run it`],
  ];
}

/** Returns the warnings of the same response. */
export const warningLines = ({ warnings }) => warnings.map((warning) => `Warning: ${warning}`);
