/** Typed client of the Azora Mesh HTTP API: openapi-fetch over the types of the OpenAPI document. */

import createClient, { type Client, type ClientOptions } from "openapi-fetch";

import type { components, paths } from "./schema.js";

export type { components, operations, paths } from "./schema.js";

/** Messages and enums by their full name: `Schemas["azora.payment.v1.Wallet"]`. */
export type Schemas = components["schemas"];

/** An error response: a gRPC status with its details. */
export type Status = Schemas["google.rpc.Status"];

export interface AzoraOptions extends ClientOptions {
  /** URL of the public port, for example `http://localhost:8080`. */
  baseUrl: string;
  /** Returns the access token, or undefined for calls without one. Called before each request. */
  accessToken?: () => string | undefined | Promise<string | undefined>;
}

/**
 * Creates a client. Paths, parameters, bodies and responses are typed by the contract.
 *
 * A call resolves to `data` or `error`. It rejects only if no response arrived.
 */
export function createAzoraClient({ accessToken, ...options }: AzoraOptions): Client<paths> {
  const client = createClient<paths>(options);
  client.use({
    async onRequest({ request }) {
      const token = await accessToken?.();
      if (token !== undefined) request.headers.set("authorization", `Bearer ${token}`);
      return request;
    },
  });
  return client;
}

/** Returns the reason of an error, for example `WALLET_NOT_FOUND`, or undefined if it has none. */
export function reasonOf(error: Status): string | undefined {
  const info = error.details?.find((detail) => detail["@type"] === "type.googleapis.com/google.rpc.ErrorInfo");
  return typeof info?.["reason"] === "string" ? info["reason"] : undefined;
}

/**
 * Yields the messages of a watch as they arrive.
 *
 * Takes the `data` of a call with `parseAs: "stream"`, which is newline-delimited JSON. Leaving the loop closes the
 * stream.
 */
export async function* messagesOf<Message>(stream: ReadableStream<Uint8Array>): AsyncGenerator<Message> {
  const decoder = new TextDecoder();
  let unread = "";
  for await (const bytes of stream) {
    const lines = (unread + decoder.decode(bytes, { stream: true })).split("\n");
    unread = lines.pop() ?? "";
    for (const line of lines) if (line !== "") yield JSON.parse(line) as Message;
  }
  if (unread.trim() !== "") yield JSON.parse(unread) as Message;
}
