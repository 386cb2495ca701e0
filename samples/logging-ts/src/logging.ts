// All endpoints of the application, by the names that app.json uses.

export * from "./caller";
export * from "./private";
export * from "./public";
