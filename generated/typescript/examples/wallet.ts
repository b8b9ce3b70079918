import { createAzoraClient } from "azora-client";

let token: string | undefined;
const azora = createAzoraClient({ baseUrl: process.env["AZORA_URL"] ?? "http://localhost:8080", accessToken: () => token });

const session = await azora.POST("/v1/auth/login", { body: { email: "student@azora.world", password: "Student@2024!" } });
if (session.error) throw new Error(session.error.message);
token = session.data.accessToken;

const wallet = await azora.GET("/v1/wallet");
console.log(wallet.data?.wallet?.balances);
