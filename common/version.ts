/** The version of this build, as in package.json: it is on the image, in user agents and in the annotation of injected pods. */
export const VERSION = "0.1.0";
