// A device on mqtt.js: publishes at QoS 0, 1 and 2, hears its results, prints what it saw as JSON.
// Arguments: the folder that has node_modules, port, protocol version (4 or 5).
const [folder, port, version] = process.argv.slice(2);
const mqtt = require(require("path").join(folder, "node_modules", "mqtt"));

const COUNT = 30;
const results = [];
const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, {
  protocolVersion: Number(version),
  clientId: "mqtt-js-device",
  clean: false,
  properties: Number(version) === 5 ? { sessionExpiryInterval: 600 } : undefined,
});

function finishWhenDone(acknowledged) {
  if (acknowledged < COUNT || results.length < COUNT) {
    setTimeout(() => finishWhenDone(seen.acknowledged), 20);
    return;
  }
  client.end(false, {}, () => {
    const statuses = [...new Set(results.map((one) => one.status))];
    console.log(JSON.stringify({ acknowledged: seen.acknowledged, results: results.length, statuses, errors: seen.errors }));
  });
}

const seen = { acknowledged: 0, errors: [] };
client.on("error", (error) => seen.errors.push(String(error)));
client.on("message", (_topic, payload) => results.push(JSON.parse(payload)));
client.once("connect", () => {
  client.subscribe("devices/cam-1/results", { qos: 1 }, (error) => {
    if (error) seen.errors.push(String(error));
    for (let number = 0; number < COUNT; number += 1) {
      client.publish("devices/cam-1/readings", `reading ${number}`, { qos: number % 3 }, (failure) => {
        if (failure) seen.errors.push(`${failure.code}`);
        seen.acknowledged += 1;
      });
    }
    finishWhenDone(0);
  });
});
