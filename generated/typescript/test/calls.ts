/** Calls a running development system as a web client does. Fails with an AssertionError. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

import { createFileRegistry, fromBinary, type DescMethodUnary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { createAzoraClient, messagesOf, reasonOf, type Schemas } from "../src/index.js";

const [baseUrl, descriptors] = process.argv.slice(2);
assert(baseUrl !== undefined && descriptors !== undefined, "usage: calls.js URL descriptors.binpb");

let token: string | undefined;
const azora = createAzoraClient({ baseUrl, accessToken: () => token });

const anonymous = await azora.GET("/v1/wallet");
assert.equal(anonymous.response.status, 401);
assert(anonymous.error !== undefined);
assert.equal(reasonOf(anonymous.error), "TOKEN_MISSING");

const signedIn = await azora.POST("/v1/auth/login", {
  body: { email: "student@azora.world", password: "Student@2024!" },
});
assert(signedIn.data !== undefined, JSON.stringify(signedIn.error));
token = signedIn.data.accessToken;

const courses = await azora.GET("/v1/courses", { params: { query: { pageSize: 1 } } });
const [course] = courses.data?.courses ?? [];
assert(course !== undefined, "the catalogue is seeded");
const one = await azora.GET("/v1/courses/{courseId}", { params: { path: { courseId: course.id } } });
assert.equal(one.data?.course?.id, course.id);

const key = crypto.randomUUID();
const holds = [];
for (let attempt = 0; attempt < 2; attempt++) {
  const created = await azora.POST("/v1/holds", {
    params: { header: { "Idempotency-Key": key } },
    body: { amount: { minorUnits: "1", currency: "AZR" } },
  });
  assert(created.data?.hold !== undefined, JSON.stringify(created.error));
  holds.push(created.data.hold.id);
}
const [hold] = holds;
assert(hold !== undefined && hold === holds[1], "a retry with the same key returns the same hold");
const released = await azora.POST("/v1/holds/{holdId}:release", { params: { path: { holdId: hold } }, body: {} });
assert.equal(released.data?.hold?.state, "HOLD_STATE_RELEASED");

const watch = await azora.GET("/v1/transactions:watch", {
  params: { query: { afterSequence: "0" } },
  parseAs: "stream",
});
assert(watch.data, JSON.stringify(watch.error));
for await (const message of messagesOf<Schemas["azora.payment.v1.WatchTransactionsResponse"]>(watch.data)) {
  assert(message.transaction ?? message.heartbeat, JSON.stringify(message));
  break;
}

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, await readFile(descriptors)));
const method = registry.getService("azora.education.v1.CourseService")?.method["listCourses"];
assert(method?.methodKind === "unary");
const transport = createGrpcWebTransport({ baseUrl });
const answer = await transport.unary(method as DescMethodUnary, undefined, 5000, undefined, {});
assert.equal((answer.message as unknown as { courses: unknown[] }).courses.length >= 1, true);

console.log("all calls answered as typed");
