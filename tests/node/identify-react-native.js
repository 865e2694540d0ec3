// Uploads Identify events by the uploader of Segment's React Native SDK: node identify-react-native.js HOST WRITE_KEY EMAIL
// The rest of the SDK needs a telephone; the uploader is what speaks to the service.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { uploadEvents } = require("@segment/analytics-react-native/lib/commonjs/api.js");

const [host, writeKey, email] = process.argv.slice(2);
const settings = await fetch(`${host}/v1/projects/${writeKey}/settings`);
const { apiHost } = (await settings.json()).integrations["Segment.io"];
const event = { anonymousId: "rn-anonymous", userId: "rn-1", timestamp: new Date().toISOString() };
const answer = await uploadEvents({
  writeKey,
  url: `http://${apiHost}/b`,
  events: [
    { ...event, messageId: "rn-1", type: "track", event: "Something happened" },
    { ...event, messageId: "rn-2", type: "identify", traits: { email, preferred_name: "Native", number_of_contacts: 8 } },
    { ...event, messageId: "rn-3", type: "screen", name: "Home" },
  ],
  retryCount: 1,
});
if (!answer.ok) {
  console.error(answer.status, await answer.text());
  process.exit(1);
}
