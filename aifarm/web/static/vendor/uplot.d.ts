/** What is drawn is uPlot's matter; its own documentation has the types. */
declare const uPlot: any;
export default uPlot;
