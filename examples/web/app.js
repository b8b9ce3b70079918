// A learner's page over the Azora JSON API: courses, lessons with live progress, wallet, certificates.

import { call, signIn, signOut, watch } from "./api.js";

const find = (id) => document.getElementById(id);

const enrollments = new Map(); // Those that are not cancelled, by the ID of their course.
const idempotencyKeys = new Map(); // Of actions that were not answered yet.
let signedIn; // Aborted at sign-out.
let studying; // Aborted when another course is opened.

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function button(label, action) {
  const made = element("button", { type: "button", textContent: label });
  made.addEventListener("click", () => attempt(action, made));
  return made;
}

/** Amounts are strings of minor units: no number of JavaScript holds them all. */
function money({ minorUnits, currency }) {
  const format = new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "code" });
  return format.format(`${minorUnits}E-${format.resolvedOptions().maximumFractionDigits}`);
}

/** Run an action, with its button disabled, and show its error. */
async function attempt(action, pressed) {
  find("error").hidden = true;
  if (pressed) pressed.disabled = true;
  try {
    await action();
  } catch (error) {
    showError(error);
  } finally {
    if (pressed) pressed.disabled = false;
  }
}

function showError(error) {
  find("error").textContent = error.message;
  find("error").hidden = false;
  if (error.httpStatus === 401) showSignedOut(); // The session has expired or was revoked.
}

/** Post an action that must happen once. Repeating it has the same key until it was answered. */
async function postOnce(path) {
  const idempotencyKey = idempotencyKeys.get(path) ?? crypto.randomUUID();
  idempotencyKeys.set(path, idempotencyKey);
  try {
    const answer = await call("POST", path, { body: {}, idempotencyKey });
    idempotencyKeys.delete(path);
    return answer;
  } catch (error) {
    if (error.httpStatus < 500) idempotencyKeys.delete(path); // Otherwise it may have happened.
    throw error;
  }
}

async function showSignedIn(user) {
  signedIn = new AbortController();
  find("user").textContent = user.name;
  find("signed-out").hidden = true;
  find("signed-in").hidden = find("sign-out").hidden = false;
  follow(watchWallet);
  await Promise.all([showCourses(), showCertificates()]);
}

function showSignedOut() {
  signedIn?.abort();
  studying?.abort();
  enrollments.clear();
  find("user").textContent = "";
  for (const id of ["wallet", "courses", "certificates", "lessons"]) find(id).replaceChildren();
  find("signed-out").hidden = false;
  find("signed-in").hidden = find("sign-out").hidden = find("study").hidden = true;
}

function follow(watcher) {
  watcher().catch(showError);
}

/** Show the wallet now and after each transaction: the first message comes when the watch has begun. */
async function watchWallet() {
  const { signal } = signedIn;
  for await (const _message of watch("/v1/transactions:watch", signal)) {
    const { wallet } = await call("GET", "/v1/wallet");
    if (signal.aborted) return;
    const balances = wallet.balances.map(({ available, currency }) => money({ minorUnits: available, currency }));
    find("wallet").textContent = balances.join(", ");
  }
}

async function showCourses() {
  const [{ courses }, mine] = await Promise.all([
    call("GET", "/v1/courses?pageSize=100"),
    call("GET", "/v1/enrollments?pageSize=100"),
  ]);
  enrollments.clear();
  for (const enrollment of mine.enrollments) {
    if (enrollment.state !== "ENROLLMENT_STATE_CANCELLED") enrollments.set(enrollment.courseId, enrollment);
  }
  find("courses").replaceChildren(...courses.map(courseItem));
}

function courseItem(course) {
  const open = button("Open", () => study(enrollments.get(course.id)));
  const enroll = button("Enrol", async () => {
    const { enrollment } = await postOnce(`/v1/courses/${course.id}/enroll`);
    await Promise.all([showCourses(), study(enrollment)]);
  });
  const price = course.price.minorUnits === "0" ? "free" : money(course.price);
  return element("li", {}, `${course.title} (${price}) `, enrollments.has(course.id) ? open : enroll);
}

/** Open an enrolment: its lessons, and its progress as it arrives from the server. */
async function study(enrollment) {
  studying?.abort();
  studying = new AbortController();
  const { signal } = studying;
  const { course } = await call("GET", `/v1/courses/${enrollment.courseId}`);
  if (signal.aborted) return;
  const lessons = course.modules.flatMap((module) => module.lessons);
  const items = new Map(lessons.map((lesson) => [lesson.id, lessonItem(enrollment, lesson)]));
  find("study-title").textContent = course.title;
  find("lessons").replaceChildren(...items.values());
  find("study").hidden = false;
  follow(() => watchProgress(enrollment, items, signal));
}

function lessonItem(enrollment, lesson) {
  const item = element("li", {}, element("details", {},
    element("summary", { textContent: lesson.title }),
    element("p", { textContent: lesson.content }),
  ));
  if (lesson.kind !== "LESSON_KIND_QUIZ") {
    item.append(button("Complete", () => postOnce(`/v1/enrollments/${enrollment.id}/lessons/${lesson.id}:complete`)));
  }
  return item;
}

async function watchProgress(enrollment, items, signal) {
  for await (const { snapshot } of watch(`/v1/enrollments/${enrollment.id}/progress:watch`, signal)) {
    if (!snapshot) continue; // A heartbeat.
    const { completedLessons, requiredLessons, basisPoints } = snapshot.progress;
    find("progress").value = basisPoints;
    find("progress-text").textContent = `${completedLessons} of ${requiredLessons} required lessons`;
    for (const { lessonId } of snapshot.completedLessons) {
      items.get(lessonId)?.classList.add("completed");
      items.get(lessonId)?.querySelector("button")?.remove();
    }
    if (snapshot.state === "ENROLLMENT_STATE_COMPLETED") await showCertificates();
  }
}

async function showCertificates() {
  const { certificates } = await call("GET", "/v1/certificates?pageSize=100");
  find("certificates").replaceChildren(...certificates.map(({ id, courseTitle }) =>
    element("li", {}, element("a", { href: `#${id}`, textContent: courseTitle }))));
}

/** Check a certificate: anyone may, who has its ID. */
async function check(id) {
  find("verdict").textContent = "";
  const { valid, certificate } = await call("GET", `/v1/certificates/${encodeURIComponent(id)}:verify`);
  const date = new Date(certificate.issueTime).toLocaleDateString("en", { dateStyle: "long" });
  find("verdict").textContent = valid
    ? `Valid: ${certificate.learnerName} completed “${certificate.courseTitle}” on ${date}.`
    : "Not valid: the certificate was revoked.";
}

function checkLinked() {
  const id = location.hash.slice(1);
  if (!id) return;
  find("check").elements.id.value = id;
  attempt(() => check(id));
}

find("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const { email, password } = event.target.elements;
  attempt(async () => {
    const user = await signIn(email.value, password.value);
    password.value = "";
    await showSignedIn(user);
  }, event.submitter);
});

find("sign-out").addEventListener("click", (event) => attempt(async () => {
  const ended = signOut();
  showSignedOut();
  await ended;
}, event.target));

find("check").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(() => check(event.target.elements.id.value.trim()), event.submitter);
});

addEventListener("hashchange", checkLinked);
checkLinked();
