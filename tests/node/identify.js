// Sends Identify calls through Segment's SDK: node identify.js HOST WRITE_KEY EMAIL
import { Analytics } from "@segment/analytics-node";

const [host, writeKey, email] = process.argv.slice(2);
const analytics = new Analytics({ host, writeKey, maxRetries: 0 });
const errors = [];
analytics.on("error", (error) => errors.push(error));

analytics.track({ userId: "node-1", event: "Something happened" });
analytics.identify({ userId: "node-1", traits: { email, preferred_name: "Node", number_of_contacts: 7 } });
analytics.identify({ userId: "node-1", traits: { is_professional: true } });
await analytics.closeAndFlush();
if (errors.length > 0) {
  console.error(JSON.stringify(errors));
  process.exit(1);
}
